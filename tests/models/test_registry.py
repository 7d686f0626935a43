"""The model registry: names to models, and the error for an unknown name."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import facecls
from facecls.config.schema import HeadConfig, ModelConfig
from facecls.errors import ModelError
from facecls.models import MODELS, FaceClassifier, build_model


def build(name: str) -> FaceClassifier:
    return build_model(ModelConfig(name=name), HeadConfig(), classes=2, image_size=16)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_returns_one_row_of_logits_per_image(name: str) -> None:
    assert build(name)(torch.rand(3, 3, 16, 16)).shape == (3, 2)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("resnet81", "did you mean `resnet18`?"),
        ("ResNet18", "did you mean `resnet18`?"),
        ("torchvison/vgg11", "did you mean `torchvision/vgg11`?"),
        (
            "yolo",
            "the models are `resnet18`, `resnet34`, `cnn`, `mlp`, `linear`, `torchvision/NAME`, `timm/NAME`",
        ),
        (
            "keras/vgg11",
            "the models are `resnet18`, `resnet34`, `cnn`, `mlp`, `linear`, `torchvision/NAME`, `timm/NAME`",
        ),
    ],
)
def test_an_unknown_model_is_an_error_with_the_nearest_name(name: str, hint: str) -> None:
    with pytest.raises(ModelError) as caught:
        build(name)
    assert str(caught.value) == f"model.name: `{name}` is not a model"
    assert caught.value.hint == hint


class Brightness(nn.Module):
    features = 1

    def forward(self, images: Tensor) -> Tensor:
        return images.mean(dim=(1, 2, 3)).unsqueeze(1)


def test_a_model_is_added_with_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MODELS, "brightness", lambda _model, _image_size: Brightness())
    model = build("brightness")
    assert isinstance(model.backbone, Brightness)
    assert model(torch.rand(3, 3, 16, 16)).shape == (3, 2)


def test_a_resnet18_is_built_loaded_and_run_without_the_slow_imports() -> None:
    program = """
import sys
import torch
before = set(sys.modules)
from facecls.config.schema import HeadConfig, ModelConfig
from facecls.models import build_model

def build():
    return build_model(ModelConfig(), HeadConfig(name="arcface"), classes=2, image_size=32)

weights = build().state_dict()
with torch.device("meta"):
    model = build()
model.load_state_dict(weights, assign=True)
with torch.inference_mode():
    model.eval()(torch.rand(1, 3, 32, 32))
slow = {"torchvision", "timm", "torch._dynamo", "torch._inductor", "sympy", "torch.utils.flop_counter"}
print(sorted(slow & (set(sys.modules) - before)))
"""
    root = Path(facecls.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
