"""ResNet inference on CPUs: batch norms folded into convolutions, and weights in oneDNN's blocked layout.

oneDNN's kernels for that layout, with weights converted once, take about three quarters of the time of PyTorch's for
channels_last in bf16, and nine tenths in fp32. They have no gradients.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from facecls.device import Device
from facecls.models.classifier import FaceClassifier
from facecls.models.resnet import ResNet
from facecls.precision import has_onednn_kernels

# The names of each convolution and the batch norm after it, in facecls's and torchvision's ResNets.
_PAIRS = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))


def for_inference(model: FaceClassifier, device: Device) -> FaceClassifier:
    """A faster copy of `model` for inference, or `model` itself if there is none for it on `device`.

    Only ResNets with finite weights have one, on CPUs for which oneDNN has convolutions in the device's precision. It uses the
    current weights and running statistics, as eval mode does, and differs from `model` by rounding only. Making it takes
    about 40 ms.
    """
    network = getattr(model.backbone, "network", model.backbone)  # torchvision's are in a ZooBackbone
    if not (device.type == "cpu" and _is_resnet(network) and has_onednn_kernels(device.dtype)):
        return model
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    faster = copy.deepcopy(model, tensors).eval()  # copies modules, shares weights
    _fold(faster.backbone, device.dtype)
    if not all(module.finite for module in faster.modules() if isinstance(module, _FoldedConv)):
        return model  # oneDNN's ReLU turns NaN into numbers, which would hide that the weights are not finite
    faster.backbone = _MkldnnBackbone(faster.backbone, device.dtype)
    return faster


def _is_resnet(network: nn.Module) -> bool:
    # By the name of the module, because importing torchvision takes a second and a half
    return isinstance(network, ResNet) or type(network).__module__ == "torchvision.models.resnet"


def _fold(module: nn.Module, dtype: torch.dtype) -> None:
    """Replaces each convolution and its batch norm by one convolution, in `module` and all its submodules."""
    children = dict(module.named_children())
    for first, second in _PAIRS:
        conv, norm = children.get(first), children.get(second)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, first, _FoldedConv(conv, norm, dtype))
            setattr(module, second, nn.Identity())
    for child in children.values():
        _fold(child, dtype)


class _FoldedConv(nn.Module):
    """A convolution with its batch norm folded in: feature maps to feature maps, of `dtype` in oneDNN's layout."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        self.finite = bool((weight.sum() + bias.sum()).isfinite())
        self.weight = weight.detach().contiguous().to_mkldnn(dtype)
        self.bias = bias.detach().to_mkldnn(dtype)
        self.stride, self.padding, self.dilation, self.groups = conv.stride, conv.padding, conv.dilation, conv.groups

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.conv2d(maps, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class _MkldnnBackbone(nn.Module):
    """A backbone of folded convolutions: normalised float (B, 3, S, S) to features (B, F) of `dtype`."""

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images.to_mkldnn(self.dtype))
        return features.to_dense()
