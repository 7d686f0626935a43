"""The classifier: normalisation, modes, gradients, size."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from facecls.config.schema import HeadConfig, ModelConfig
from facecls.models import HEADS, MODELS, FaceClassifier, build_model, count_parameters, multiply_adds

SIZE = 32


def classifier(name: str = "cnn", head: str = "linear", dropout: float = 0.0, classes: int = 5) -> FaceClassifier:
    torch.manual_seed(0)
    section = ModelConfig(name=name, dropout=dropout)
    return build_model(section, HeadConfig(name=head), classes=classes, image_size=SIZE)


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pixels_are_normalised_with_imagenets_mean_and_std(layout: torch.memory_format) -> None:
    pixels = images().contiguous(memory_format=layout)
    normalised = classifier().normalise(pixels)
    expected = torchvision.transforms.functional.normalize(pixels, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(normalised, expected, rtol=1e-6, atol=1e-6)
    assert normalised.is_contiguous(memory_format=layout)


def test_a_resnet18_for_a_thousand_classes_has_torchvisions_parameters() -> None:
    assert count_parameters(classifier("resnet18", classes=1000)) == 11_689_512


def test_a_resnet18_classifier_returns_torchvisions_logits() -> None:
    model = classifier("resnet18", classes=1000).eval()
    reference = torchvision.models.resnet18().eval()
    weights = model.backbone.state_dict() | {f"fc.{name}": tensor for name, tensor in model.head.state_dict().items()}
    reference.load_state_dict(weights)
    with torch.no_grad():
        assert torch.equal(model(images()), reference(model.normalise(images())))


def test_multiply_adds_are_the_published_ones() -> None:
    assert multiply_adds(classifier("resnet18", classes=1000), 224) == 1_814_073_344


def test_counting_multiply_adds_does_not_change_the_model() -> None:
    model = classifier(dropout=0.5)
    model.backbone.get_submodule("stem").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    multiply_adds(model, SIZE)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(parameter.device.type == "cpu" and parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name: str, head: str) -> None:
    model = classifier(name, head)
    targets = torch.eye(5)[[0, 1, 2, 3]]
    logits = model.head.with_margin(model(images()), targets, 1.0)
    torch.autograd.backward(nn.functional.cross_entropy(logits, targets))
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", MODELS)
def test_features_and_logits_come_from_one_pass(name: str) -> None:
    model = classifier(name, "cosface").eval()
    with torch.no_grad():
        features = model.embed(images())
        assert features.shape == (4, model.backbone.features)
        assert torch.equal(model.classify(features), model(images()))


@pytest.mark.parametrize("name", ["resnet18", "cnn", "mlp"])
def test_batch_norm_statistics_change_in_training_mode_only(name: str) -> None:
    model = classifier(name)
    first = next(module for module in model.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d))
    assert first.running_mean is not None
    before = first.running_mean.clone()
    model.eval()(images())
    assert torch.equal(first.running_mean, before)
    model.train()(images())
    assert not torch.equal(first.running_mean, before)


@pytest.mark.parametrize("name", MODELS)
def test_dropout_applies_in_training_mode_only(name: str) -> None:
    model = classifier(name, dropout=0.5)
    features = model.embed(images()).detach()
    assert not torch.equal(model.classify(features), model.classify(features))
    model.eval()
    assert torch.equal(model.classify(features), model.classify(features))


def test_without_dropout_training_mode_computes_as_eval_mode_does() -> None:
    model = classifier("linear")
    assert torch.equal(model.train()(images()), model.eval()(images()))


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", MODELS)
def test_a_model_built_on_the_meta_device_is_complete_once_its_weights_are_loaded(name: str, head: str) -> None:
    trained = classifier(name, head).eval()
    with torch.device("meta"):
        loaded = classifier(name, head).eval()
    loaded.load_state_dict(trained.state_dict(), assign=True)
    assert all(tensor.device.type == "cpu" for tensor in [*loaded.parameters(), *loaded.buffers()])
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    with torch.no_grad():
        assert torch.equal(loaded(images()), trained(images()))


@pytest.mark.parametrize(("name", "size"), [("linear", SIZE), ("mlp", SIZE), ("cnn", None), ("resnet18", None)])
def test_fixed_size_is_the_only_image_size_that_a_model_takes(name: str, size: int | None) -> None:
    assert classifier(name).fixed_size == size


@pytest.mark.parametrize("name", ["resnet18", "cnn"])
def test_a_convolutional_model_takes_other_image_sizes_than_it_was_built_for(name: str) -> None:
    assert classifier(name)(torch.rand(2, 3, 48, 48)).shape == (2, 5)
