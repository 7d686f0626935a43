"""Where in an image a classifier looked: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

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

# Dark violet, red, orange, light yellow: rising in lightness, so that it reads in grey and to the colour-blind.
_HEAT = np.array([[38, 12, 81], [170, 36, 82], [243, 119, 25], [252, 253, 191]], np.float32)
_COVER = 0.65  # of the image, where the heat is greatest


class GradCam:
    """Heat maps of a classifier with a feature map: the last one in its backbone that still has an up and a down.

    Raises ModelError for a backbone that has none, such as `mlp`, or one whose later layers look at the whole image at
    once, such as a vision transformer.
    """

    def __init__(self, model: FaceClassifier, device: Device, image_size: int, name: str) -> None:
        self.model = model.eval()
        self.device = device
        self.layer = _last_map(self.model, torch.zeros(1, 3, image_size, image_size, device=device.torch_device))
        if self.layer is None:
            raise ModelError(
                f"model.name: `{name}` has no feature map to explain an image by",
                hint="convolutional networks have one: `resnet18`, `cnn`, `torchvision/mobilenet_v3_small`",
            )

    def __call__(self, faces: NDArray[np.uint8], classes: NDArray[np.int64]) -> NDArray[np.float32]:
        """How much each place spoke for class `classes[i]` in face i: uint8 (B, S, S, 3), (B,) to (B, S, S) in [0, 1].

        A map's channels are weighted by the mean gradient of the class's logit over the map, added up, and what is below
        0, evidence against the class, is left out. The largest value of each face is 1, unless nothing spoke for the class.
        """
        assert self.layer is not None
        kept: list[Tensor] = []
        own = threading.get_ident()

        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            if threading.get_ident() != own:  # predict's workers use the same model
                return output
            kept[:] = [output.detach().float().requires_grad_()]
            return kept[0].clone().to(output.dtype)  # what follows may change its input in place

        hook = self.layer.register_forward_hook(keep)
        try:
            with torch.enable_grad(), torch.inference_mode(False):
                logits = self.model(self.device.images(torch.from_numpy(faces)))
                chosen = logits.gather(1, torch.from_numpy(classes).to(logits.device)[:, None])
                (gradient,) = torch.autograd.grad(chosen.sum(), kept[0])
        finally:
            hook.remove()
        maps = kept[0].detach()
        heat = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
        heat = functional.interpolate(heat, faces.shape[1:3], mode="bilinear", align_corners=False)[:, 0]
        heat = heat / heat.amax((1, 2), keepdim=True).clamp_min(1e-12)
        return np.asarray(heat.cpu().numpy())


def _last_map(model: FaceClassifier, images: Tensor) -> nn.Module | None:
    """The module of the backbone whose output is the last (B, C, H, W) with H and W above 1; None where tokens follow."""
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
    """Heat maps (B, S, S) at another size, (B, side, side)."""
    ramp = functional.interpolate(torch.from_numpy(heat)[:, None], (side, side), mode="bilinear", align_corners=False)
    return np.asarray(ramp[:, 0].numpy())


def overlay(faces: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Faces (B, S, S, 3), greyed, under the colours of their heat (B, S, S) in [0, 1]."""
    grey = (faces.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    steps = np.linspace(0, 1, len(_HEAT))
    colour = np.stack([np.interp(heat, steps, _HEAT[:, channel]) for channel in range(3)], axis=-1)
    cover = _COVER * heat[..., None]
    return np.asarray(np.clip(grey * (1 - cover) + colour * cover, 0, 255).astype(np.uint8))
