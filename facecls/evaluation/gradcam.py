"""Grad-CAM heat maps (Selvaraju et al. 2017, arXiv:1610.02391)."""

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from facecls.device import Device
from facecls.errors import ModelError
from facecls.models.classifier import FaceClassifier

# Dark violet, red, orange, light yellow: monotonic in lightness, so that it works in greyscale and for the colour-blind.
_HEAT = np.array([[38, 12, 81], [170, 36, 82], [243, 119, 25], [252, 253, 191]], np.float32)
_OPACITY = 0.65  # of the heat map where it is 1


class GradCam:
    """Grad-CAM at the last feature map of the backbone with a height and width above 1.

    Raises ModelError if the backbone has none (`mlp`), or if token layers follow it (vision transformers).
    """

    def __init__(self, model: FaceClassifier, device: Device, image_size: int, name: str) -> None:
        self.model = model.eval()
        self.device = device
        layer = _last_map(self.model, torch.zeros(1, 3, image_size, image_size, device=device.torch_device))
        if layer is None:
            raise ModelError(
                f"model.name: `{name}` has no feature map for Grad-CAM",
                hint="use a convolutional network, such as `resnet18`, `cnn` or `torchvision/mobilenet_v3_small`",
            )
        self.layer = layer

    def __call__(self, faces: NDArray[np.uint8], classes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Heat maps (B, S, S) in [0, 1] of uint8 images (B, S, S, 3) for class numbers `classes` (B,).

        The ReLU of the feature map's channels weighted by the mean gradient of the class's logit. Each heat map is scaled
        to a maximum of 1, unless it is 0 everywhere.
        """
        retained: list[Tensor] = []
        caller = threading.get_ident()

        def retain(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            if threading.get_ident() != caller:  # the workers of `predict` use the same model
                return output
            retained[:] = [output.detach().float().requires_grad_()]
            return retained[0].clone().to(output.dtype)  # the next layer may work in place

        hook = self.layer.register_forward_hook(retain)
        try:
            with torch.enable_grad(), torch.inference_mode(False):
                logits = self.model(self.device.images(torch.from_numpy(faces)))
                chosen = logits.gather(1, torch.from_numpy(classes).to(logits.device)[:, None])
                (gradient,) = torch.autograd.grad(chosen.sum(), retained[0])
        finally:
            hook.remove()
        maps = retained[0].detach()
        heat = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
        heat = functional.interpolate(heat, faces.shape[1:3], mode="bilinear", align_corners=False)[:, 0]
        heat = heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
        return np.asarray(heat.cpu().numpy())


def _last_map(model: FaceClassifier, images: Tensor) -> nn.Module | None:
    """The last module of the backbone with an output (B, C, H, W), H and W above 1; None if token layers (B, N, C) follow."""
    found: list[nn.Module | None] = [None]

    def record(module: nn.Module, _inputs: Any, output: Any) -> None:
        if not isinstance(output, Tensor):
            return
        if output.ndim == 4 and min(output.shape[2:]) > 1:
            found[0] = module
        elif output.ndim == 3:
            found[0] = None

    hooks = [module.register_forward_hook(record) for module in model.backbone.modules()]
    try:
        with torch.inference_mode():
            model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0]


def resized(heat: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Heat maps (B, S, S) resized to (B, side, side)."""
    maps = functional.interpolate(torch.from_numpy(heat)[:, None], (side, side), mode="bilinear", align_corners=False)
    return np.asarray(maps[:, 0].numpy())


def overlay(faces: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Heat maps (B, S, S) in [0, 1] in colour over the uint8 images (B, S, S, 3) in greyscale."""
    grey = (faces.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    steps = np.linspace(0, 1, len(_HEAT))
    colour = np.stack([np.interp(heat, steps, _HEAT[:, channel]) for channel in range(3)], axis=-1)
    opacity = _OPACITY * heat[..., None]
    return np.asarray(np.clip(grey * (1 - opacity) + colour * opacity, 0, 255).astype(np.uint8))
