"""ResNet compared with torchvision's."""

import pytest
import torch
import torchvision
from torch import nn

from facecls.config.schema import ModelConfig
from facecls.models.resnet import ResNet, resnet18, resnet34


def with_weights_of(reference: nn.Module, network: ResNet) -> ResNet:
    weights = {name: tensor for name, tensor in reference.state_dict().items() if not name.startswith("fc.")}
    network.load_state_dict(weights)
    return network


@pytest.fixture
def reference() -> nn.Module:
    torch.manual_seed(0)
    network: nn.Module = torchvision.models.resnet18()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # initial values would hide a batch norm that does nothing
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]  # torch types a buffer as optional
            nn.init.uniform_(module.running_var, 0.5, 2.0)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    network.fc = nn.Identity()
    return network


def test_resnet18_is_bit_equal_to_torchvisions_in_eval_mode(reference: nn.Module) -> None:
    ours = with_weights_of(reference, resnet18(ModelConfig(), 64)).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), reference.eval()(images))


def test_resnet18_has_gradients_bit_equal_to_torchvisions(reference: nn.Module) -> None:
    ours = with_weights_of(reference, resnet18(ModelConfig(), 64))
    images = torch.randn(4, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    losses = [network.train()(images).square().mean() for network in (ours, reference)]
    for loss in losses:
        torch.autograd.backward(loss)
    assert torch.equal(losses[0], losses[1])
    theirs = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = theirs[name].grad
        assert parameter.grad is not None
        assert expected is not None
        assert torch.equal(parameter.grad, expected), name
    after = reference.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in ours.state_dict().items())


def test_resnet34_has_the_weight_shapes_of_torchvisions() -> None:
    with torch.device("meta"):
        ours = {name: tensor.shape for name, tensor in resnet34(ModelConfig(), 64).state_dict().items()}
        theirs = {name: tensor.shape for name, tensor in torchvision.models.resnet34().state_dict().items()}
    assert ours == {name: shape for name, shape in theirs.items() if not name.startswith("fc.")}


def test_convolutions_are_initialised_with_kaimings_variance() -> None:
    torch.manual_seed(0)
    network = resnet18(ModelConfig(), 64)
    for name, parameter in network.named_parameters():
        if parameter.dim() == 4:
            he = (2 / (parameter.shape[0] * parameter.shape[2] * parameter.shape[3])) ** 0.5
            assert parameter.std().item() == pytest.approx(he, rel=0.05), name
            assert abs(parameter.mean().item()) < 0.05 * he, name


@pytest.mark.parametrize(("stem", "side"), [("standard", 8), ("small", 32)])
def test_the_small_stem_keeps_the_image_size(stem: str, side: int) -> None:
    network = resnet18(ModelConfig.model_validate({"stem": stem}), 32)
    shapes: list[torch.Size] = []
    network.layer1.register_forward_hook(lambda _module, _inputs, maps: shapes.append(maps.shape))
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 512)
    assert shapes == [torch.Size((2, 64, side, side))]


def test_stages_hold_every_weight_once_from_the_input_side() -> None:
    network = resnet18(ModelConfig(), 32)
    staged = [parameter for stage in network.stages() for parameter in stage.parameters()]
    assert [id(parameter) for parameter in staged] == [id(parameter) for parameter in network.parameters()]
