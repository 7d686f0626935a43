"""The faster inference copy of a ResNet, compared with the ResNet."""

import copy
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from facecls.config.schema import HeadConfig, ModelConfig
from facecls.device import Device
from facecls.evaluation.infer import forward_batches
from facecls.models import FaceClassifier, build_model
from facecls.models.mkldnn import for_inference
from facecls.precision import has_onednn_kernels

ROOT = Path(__file__).parents[2]
FP32 = Device(torch.device("cpu"), torch.float32)
BF16 = Device(torch.device("cpu"), torch.bfloat16)

needs_kernels = pytest.mark.skipif(
    not has_onednn_kernels(torch.bfloat16), reason="oneDNN has no bf16 convolutions for this CPU"
)


def classifier(name: str, stem: str = "standard", side: int = 64) -> FaceClassifier:
    """A classifier with random batch norms: new ones are the identity."""
    torch.manual_seed(0)
    config = ModelConfig.model_validate({"name": name, "stem": stem})
    model = build_model(config, HeadConfig(), classes=5, image_size=side)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]  # torch types a buffer as optional
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    BF16.place(model)
    return model


def faces(side: int = 64) -> Tensor:
    return torch.rand(6, side, side, 3, generator=torch.Generator().manual_seed(1)).permute(0, 3, 1, 2)


def features(model: FaceClassifier, images: Tensor, device: Device) -> Tensor:
    return torch.from_numpy(forward_batches(model, [images], device).features)


NETWORKS = pytest.mark.parametrize(
    ("name", "stem", "side"),
    [
        ("resnet18", "standard", 64),
        ("resnet18", "standard", 17),
        ("resnet18", "small", 32),
        ("resnet34", "standard", 48),
        ("torchvision/resnet18", "standard", 64),
        ("torchvision/resnet50", "standard", 64),
        ("torchvision/resnext50_32x4d", "standard", 64),
    ],
)


@needs_kernels
@NETWORKS
def test_the_copy_is_as_close_to_fp32_as_autocast(name: str, stem: str, side: int) -> None:
    model, images = classifier(name, stem, side), faces(side)
    faster = for_inference(model, BF16)
    assert faster is not model
    exact = features(model, images, FP32)
    error = (features(faster, images, BF16) - exact).norm()
    autocast_error = (features(model, images, BF16) - exact).norm()
    assert 0 < error < 1.5 * autocast_error
    assert error < 0.02 * exact.norm()


@NETWORKS
def test_the_copy_in_fp32_differs_by_rounding(name: str, stem: str, side: int) -> None:
    model, images = classifier(name, stem, side), faces(side)
    faster = for_inference(model, FP32)
    assert faster is not model
    exact = features(model, images, FP32)
    assert 0 < (features(faster, images, FP32) - exact).norm() < 1e-5 * exact.norm()


@needs_kernels
def test_the_model_is_not_changed() -> None:
    model = classifier("resnet18").train()
    before = copy.deepcopy(model.state_dict())
    modules = {name: id(module) for name, module in model.named_modules()}
    faster = for_inference(model, BF16)
    features(faster, faces(), BF16)
    assert model.training
    assert {name: id(module) for name, module in model.named_modules()} == modules
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


@needs_kernels
def test_the_copy_has_the_current_weights() -> None:
    model = classifier("resnet18")
    first = features(for_inference(model, BF16), faces(), BF16)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.mul_(1.1)
    second = features(for_inference(model, BF16), faces(), BF16)
    assert (second - first).norm() > 0.1 * first.norm()


@pytest.mark.parametrize("device", [FP32, pytest.param(BF16, marks=needs_kernels)], ids=str)
@pytest.mark.parametrize(
    ("name", "value"), [("conv1.weight", math.nan), ("conv1.weight", math.inf), ("layer4.1.bn2.running_var", math.nan)]
)
def test_non_finite_weights_give_non_finite_features(name: str, value: float, device: Device) -> None:
    model = classifier("resnet18")
    non_finite = model.backbone.state_dict()[name]
    non_finite[(0,) * non_finite.dim()] = value
    assert not features(for_inference(model, device), faces(), device).isfinite().all()


@needs_kernels
def test_the_copy_has_the_same_head() -> None:
    model = classifier("resnet18").eval()
    faster = for_inference(model, BF16)
    embedding = torch.randn(3, 512)
    with torch.inference_mode():
        assert torch.equal(faster.classify(embedding), model.classify(embedding))


@pytest.mark.parametrize("name", ["cnn", "mlp", "linear", "torchvision/mobilenet_v3_small"])
def test_there_is_no_copy_of_other_models(name: str) -> None:
    model = classifier(name)
    assert for_inference(model, BF16) is model


def test_there_is_no_copy_for_other_devices() -> None:
    model = classifier("resnet18")
    assert for_inference(model, Device(torch.device("meta"), torch.bfloat16)) is model


def test_there_is_no_copy_if_onednn_has_no_bf16_convolutions_whatever_the_flags_of_the_cpu() -> None:
    script = (
        "from tests.models.test_mkldnn import *\n"
        "model = classifier('resnet18')\n"
        "assert for_inference(model, BF16) is model\n"
        "assert features(model, faces(), BF16).isfinite().all()\n"
    )
    environment = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
