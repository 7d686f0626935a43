from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from facecls.config.schema import HeadConfig, ModelConfig
from facecls.device import Device
from facecls.errors import ModelError
from facecls.evaluation.gradcam import GradCam, overlay
from facecls.models import build_model
from facecls.models.classifier import FaceClassifier
from facecls.models.heads import LinearHead

CPU = Device(torch.device("cpu"), torch.float32)


class Spots(nn.Module):
    """Two feature maps, of red and of blue, then their means."""

    features = 2

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Conv2d(3, 2, 1, bias=False)
        self.maps.weight.data = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])[:, :, None, None]
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled: torch.Tensor = self.relu(self.maps(images)).mean((2, 3))
        return pooled


class SharedSpots(Spots):
    """Spots whose forward pass another thread runs on another image meanwhile, as workers of `predict` may."""

    shared = False

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = super().forward(images)
        if self.shared:
            self.shared = False
            with ThreadPoolExecutor(1) as pool:
                pool.submit(self, torch.zeros(64, 3, 16, 16)).result()
        return pooled


def spots(backbone: Spots | None = None) -> FaceClassifier:
    head = LinearHead(2, 2)
    head.weight.data, head.bias.data = torch.eye(2), torch.zeros(2)
    return FaceClassifier(backbone or Spots(), head)


def test_the_heat_map_is_high_where_the_class_is() -> None:
    face = np.zeros((1, 16, 16, 3), np.uint8)
    face[:, :8, :, 0] = 255  # red above
    face[:, 8:, :, 2] = 255  # blue below
    red, blue = (GradCam(spots(), CPU, 16, "spots")(face, np.array([number])) for number in (0, 1))
    assert red.shape == (1, 16, 16)
    assert red.max() == blue.max() == 1
    assert red[0, :7].min() > 0.9 and red[0, 9:].max() == 0
    assert blue[0, 9:].min() > 0.9 and blue[0, :7].max() == 0


def test_the_forward_pass_of_another_thread_is_ignored() -> None:
    faces = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    backbone = SharedSpots()
    cam = GradCam(spots(backbone), CPU, 16, "spots")
    alone = cam(faces, np.array([0, 1, 0]))
    backbone.shared = True
    assert np.array_equal(cam(faces, np.array([0, 1, 0])), alone)
    assert not backbone.shared


@pytest.mark.parametrize("name", ["cnn", "resnet18", "torchvision/mobilenet_v3_small", "torchvision/densenet121"])
def test_convolutional_networks_have_a_heat_map(name: str) -> None:
    model = build_model(ModelConfig(name=name), HeadConfig(name="cosface"), classes=3, image_size=64)
    faces = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    cam = GradCam(model, CPU, 64, name)
    heat = cam(faces, np.array([0, 2]))
    assert heat.shape == (2, 64, 64) and heat.min() >= 0 and heat.max() <= 1
    assert np.allclose(heat[1], cam(faces[1:], np.array([2]))[0], atol=1e-3)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("name", ["linear", "mlp", "torchvision/vit_b_32"])
def test_a_network_without_a_feature_map_is_an_error(name: str) -> None:
    model = build_model(ModelConfig(name=name), HeadConfig(), classes=3, image_size=32)
    with pytest.raises(ModelError) as caught:
        GradCam(model, CPU, 32, name)
    assert str(caught.value) == f"model.name: `{name}` has no feature map for Grad-CAM"
    assert caught.value.hint == "use a convolutional network, such as `resnet18`, `cnn` or `torchvision/mobilenet_v3_small`"


def test_an_overlay_is_grey_where_the_heat_is_zero_and_coloured_where_it_is_one() -> None:
    face = np.full((1, 2, 2, 3), (200, 0, 0), np.uint8)
    heat = np.array([[[0, 1], [0, 0]]], np.float32)
    blended = overlay(face, heat)
    assert len(set(blended[0, 0, 0].tolist())) == 1
    assert blended[0, 0, 1].sum() > blended[0, 0, 0].sum()
