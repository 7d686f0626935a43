"""Residual networks on a processor with bf16: batch norms folded into convolutions, these in oneDNN's own layout.

The kernels that oneDNN has for its blocked layout and for bf16 weights that are converted once take about three quarters of
the time of those that PyTorch calls for channels_last. They have no gradients, so this is for inference only.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from facecls.device import Device
from facecls.models.classifier import FaceClassifier
from facecls.models.resnet import ResNet

# What stands one behind the other in ResNets, ours and torchvision's: a convolution's name and its batch norm's.
_PAIRS = (("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3"), ("0", "1"))


def for_inference(model: FaceClassifier, device: Device) -> FaceClassifier:
    """The classifier to compute with where no gradients are wanted: a faster copy, or `model` itself if there is none.

    The copy holds for the weights and running statistics of now, computes as eval mode does, and differs from autocast in no
    more than bf16's rounding. There is one for ResNets with finite weights on processors with AVX-512's or AMX's bf16; made
    in some 40 ms.
    """
    network = getattr(model.backbone, "network", model.backbone)  # torchvision's are held in a ZooBackbone
    if not (_has_kernels(device) and _is_resnet(network)):
        return model
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    faster = copy.deepcopy(model, tensors).eval()  # of the modules, not of the weights
    _fold(faster.backbone)
    if not all(split.finite for split in faster.modules() if isinstance(split, _FoldedConv)):
        return model  # oneDNN's activations make numbers of NaN, and the broken network would seem whole
    faster.backbone = _Blocked(faster.backbone)
    return faster


def _has_kernels(device: Device) -> bool:
    if device.type != "cpu" or device.dtype != torch.bfloat16:
        return False
    able = torch.cpu.get_capabilities()
    with_bf16 = able.get("avx512_bf16") or able.get("amx_bf16")
    return bool(with_bf16 and torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]  # torch leaves it untyped


def _is_resnet(network: nn.Module) -> bool:
    # torchvision is asked by name, because to import it takes a second and a half
    return isinstance(network, ResNet) or type(network).__module__ == "torchvision.models.resnet"


def _fold(module: nn.Module) -> None:
    """Puts one convolution where a convolution and its batch norm are, in all of `module`."""
    splits = dict(module.named_children())
    for first, second in _PAIRS:
        conv, norm = splits.get(first), splits.get(second)
        if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            setattr(module, first, _FoldedConv(conv, norm))
            setattr(module, second, nn.Identity())
    for split in splits.values():
        _fold(split)


class _FoldedConv(nn.Module):
    """A convolution and the batch norm behind it as one: oneDNN's bf16 maps to oneDNN's bf16 maps."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        super().__init__()
        assert norm.running_mean is not None and norm.running_var is not None
        weight, bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        self.finite = bool((weight.sum() + bias.sum()).isfinite())
        self.weight = weight.detach().contiguous().to_mkldnn(torch.bfloat16)
        self.bias = bias.detach().to_mkldnn(torch.bfloat16)
        self.stride, self.padding, self.dilation, self.groups = conv.stride, conv.padding, conv.dilation, conv.groups

    def forward(self, maps: Tensor) -> Tensor:
        return nn.functional.conv2d(maps, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


class _Blocked(nn.Module):
    """A backbone of folded convolutions: normalised float (B, 3, S, S) to bf16 features (B, F)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.network(images.to_mkldnn(torch.bfloat16))
        return features.to_dense()
