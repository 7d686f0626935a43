"""torchvision's and timm's models as backbones."""

import importlib.util
import sys

import pytest
import torch
from torch import nn

from facecls.config.schema import HeadConfig, ModelConfig
from facecls.errors import InstallError, ModelError
from facecls.models import FaceClassifier, build_model, multiply_adds


def build(name: str, size: int = 32) -> FaceClassifier:
    torch.manual_seed(0)
    return build_model(ModelConfig(name=name), HeadConfig(name="cosface"), classes=3, image_size=size)


@pytest.mark.parametrize(
    ("name", "features"),
    [("mobilenet_v3_small", 1024), ("efficientnet_b0", 1280), ("squeezenet1_1", 512), ("shufflenet_v2_x0_5", 1024)],
)
def test_a_torchvision_model_trains_a_step(name: str, features: int) -> None:
    model = build(f"torchvision/{name}")
    images, labels = torch.rand(6, 3, 32, 32), torch.tensor([0, 1, 2, 0, 1, 2])
    assert model.backbone.features == features
    assert model.embed(images).shape == (6, features)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    before = [parameter.clone() for parameter in model.parameters()]
    torch.autograd.backward(nn.functional.cross_entropy(model(images), labels))
    optimizer.step()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_models_with_auxiliary_outputs_return_one_output_in_training(name: str) -> None:
    with torch.device("meta"):
        model = build(f"torchvision/{name}", 96)
        assert model.train()(torch.empty(2, 3, 96, 96)).shape == (2, 3)


def test_a_vision_transformer_is_built_for_the_images_size() -> None:
    with torch.device("meta"):
        model = build("torchvision/vit_b_32", 64)
        assert model(torch.empty(2, 3, 64, 64)).shape == (2, 3)
    assert model.fixed_size == 64
    assert build("torchvision/squeezenet1_1").fixed_size is None


def test_attention_is_counted_among_the_multiply_adds() -> None:
    with torch.device("meta"):
        model = build_model(ModelConfig(name="torchvision/vit_b_32"), HeadConfig(), classes=1000, image_size=224)
    assert multiply_adds(model, 224) / 1e9 == pytest.approx(4.409, abs=5e-4)  # as torchvision publishes


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "swin_t", "regnet_y_400mf"])
def test_a_torchvision_model_built_on_the_meta_device_is_complete_once_its_weights_are_loaded(name: str) -> None:
    trained = build(f"torchvision/{name}").eval()
    with torch.device("meta"):
        loaded = build(f"torchvision/{name}").eval()
    loaded.load_state_dict(trained.state_dict(), assign=True)
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(loaded(images), trained(images))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("mobilenet_v3_smal", "did you mean `torchvision/mobilenet_v3_small`?"),
        ("ResNet50", "did you mean `torchvision/resnet50`?"),
        ("yolo", "see the list of models in the documentation of torchvision"),
    ],
)
def test_an_unknown_torchvision_model_is_an_error_with_the_nearest_name(name: str, hint: str) -> None:
    with pytest.raises(ModelError) as caught:
        build(f"torchvision/{name}")
    assert str(caught.value) == f"model.name: `torchvision/{name}` is not a model"
    assert caught.value.hint == hint


@pytest.mark.parametrize("name", ["vit_b_32", "alexnet"])
def test_an_image_size_that_a_model_cannot_take_is_an_error(name: str) -> None:
    with pytest.raises(ModelError, match=f"^model.name: `torchvision/{name}` cannot take images of 40 pixels: ") as caught:
        build(f"torchvision/{name}", 40)
    assert caught.value.hint == "most of these models take 224 pixels: try `--set data.image_size=224`"


def test_without_timm_its_models_are_an_error_with_the_install_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InstallError) as caught:
        build("timm/resnet10t")
    assert str(caught.value) == "model.name: `timm/resnet10t` needs timm, which is not installed"
    assert caught.value.hint == "install it with `pip install 'facecls[timm]'`"


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is an extra")
@pytest.mark.parametrize(("name", "fixed_size"), [("resnet10t", None), ("vit_tiny_patch16_224", 32)])
def test_a_timm_model_returns_logits(name: str, fixed_size: int | None) -> None:
    model = build(f"timm/{name}")
    assert model.fixed_size == fixed_size
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 3)


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is an extra")
def test_an_unknown_timm_model_is_an_error_with_the_nearest_name() -> None:
    with pytest.raises(ModelError) as caught:
        build("timm/resnet10tt")
    assert str(caught.value) == "model.name: `timm/resnet10tt` is not a model"
    assert caught.value.hint == "did you mean `timm/resnet10t`?"
