"""The classifier from pixels in [0, 1] to logits, and its number of parameters and multiply-adds."""

from typing import Any, Self

import torch
from torch import Tensor, nn

from facecls.errors import ModelError
from facecls.models.heads import Head

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """(images - mean) / std per channel, with ImageNet's values: (B, 3, S, S) in [0, 1] -> about [-2.1, 2.6].

    Computed as one multiply-add, in a single pass over the pixels. The values are buffers, so that checkpoints hold them and
    a model built on the meta device has them once its weights are loaded.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        shift = [-mean / std for mean, std in zip(IMAGENET_MEAN, IMAGENET_STD, strict=True)]
        self.register_buffer("scale", torch.tensor([1 / std for std in IMAGENET_STD]).view(1, 3, 1, 1))
        self.register_buffer("shift", torch.tensor(shift).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return torch.addcmul(self.shift, images, self.scale)


class FaceClassifier(nn.Module):
    """Normalisation, backbone and head: RGB float (B, 3, S, S) in [0, 1] to logits (B, C).

    `embed` and then `classify` return both features and logits in one pass.
    """

    def __init__(self, backbone: nn.Module, head: Head, dropout: float = 0.0) -> None:
        super().__init__()
        self.normalise = Normalise()
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.head = head
        self._frozen: list[nn.Module] = []

    @property
    def fixed_size(self) -> int | None:
        """The only image size that the backbone takes, pixels; None if it takes any."""
        size = getattr(self.backbone, "fixed_size", None)
        assert size is None or isinstance(size, int)
        return size

    def freeze(self, how: str | int) -> None:
        """Freezes the `backbone`, a number of its stages from the input side, or `none`.

        Frozen modules get no gradients and stay in eval mode, so their batch norm statistics do not change. Raises
        ModelError for more stages than the backbone has.
        """
        if how == "none":
            return
        stages = [self.backbone]
        if how != "backbone":
            list_stages: Any = getattr(self.backbone, "stages", None)
            if list_stages is None:
                raise ModelError("model.freeze: this model has no stages", hint="use `freeze: backbone` to freeze all of it")
            stages = list_stages()
            if int(how) > len(stages):
                problem = f"model.freeze: {how} is more than the {len(stages)} stages of the model"
                raise ModelError(problem, hint="use `freeze: backbone` to freeze them all")
            stages = stages[: int(how)]
        for stage in stages:
            stage.requires_grad_(False)
        self._frozen = stages

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of all modules but the frozen ones."""
        super().train(mode)
        for stage in self._frozen:
            stage.eval()
        return self

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, 3, S, S) in [0, 1]."""
        features: Tensor = self.backbone(self.normalise(images))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """Logits (B, C) of features (B, F); applies dropout in training mode."""
        logits: Tensor = self.head(self.dropout(features))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        return self.classify(self.embed(images))


def count_parameters(model: nn.Module) -> int:
    """The number of parameters, including frozen ones and without buffers."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, image_size: int) -> int:
    """Multiply-adds of convolutions and matrix products for one image of `image_size` pixels.

    Counted on the meta device; the model does not change.
    """
    # Imported here because it imports torch's compiler, which takes about a second.
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        meta_forward(model, image_size)
    operations: int = counter.get_total_flops()
    return operations // 2  # it counts multiplications and additions


def meta_forward(model: nn.Module, image_size: int) -> Tensor:
    """The output of `model` in eval mode for one image, on the meta device: its shape, without computation.

    The model's own tensors are neither read nor changed.
    """
    # Parameters with gradients: without, attention takes a fused path that the counter of multiply-adds does not count.
    tensors: dict[str, Tensor] = {name: nn.Parameter(value.to("meta")) for name, value in model.named_parameters()}
    tensors |= {name: value.to("meta") for name, value in model.named_buffers()}
    image = torch.empty(1, 3, image_size, image_size, device="meta")
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.enable_grad():
            output: Tensor = torch.func.functional_call(model, tensors, (image,))
    finally:
        for module in training:
            module.training = True
    return output.detach()
