"""The whole classifier, from pixels in [0, 1] to logits, and its size in parameters and multiply-adds."""

from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from facecls.errors import ModelError
from facecls.models.heads import Head

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalise(nn.Module):
    """(images - mean) / std for each channel, with ImageNet's figures: (B, 3, S, S) in [0, 1] -> about [-2.1, 2.6].

    One multiply-add instead of a subtraction and a division: a single pass over the pixels. The figures are kept in
    checkpoints, so that a checkpoint says how its images were normalised and a model built without memory (on the meta
    device) has them once its weights are loaded.
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
    """Normalises, finds features (the backbone), scores them (the head): float (B, 3, S, S) in [0, 1], RGB, to logits (B, C).

    Where features and logits are both wanted, `embed` and then `score` give them in one pass.
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
        """The only side of images, in pixels, that fits; None where any does."""
        size = getattr(self.backbone, "fixed_size", None)
        assert size is None or isinstance(size, int)
        return size

    def freeze(self, how: str | int) -> None:
        """Leaves the whole `backbone`, or that many stages from the pixels' end, as they are; `none` leaves nothing so.

        Frozen parts need no gradients and stay in eval, so that their batch norms keep what they know. Raises ModelError
        for stages that the backbone does not have.
        """
        if how == "none":
            return
        stages = [self.backbone] if how == "backbone" else self._stages()[: int(how)]
        if how != "backbone" and int(how) > len(stages):
            raise ModelError(
                f"model.freeze: {how} is more than the {len(stages)} stages of the model", hint="`freeze: backbone` takes all"
            )
        for stage in stages:
            stage.requires_grad_(False)
        self._frozen = stages

    def _stages(self) -> list[nn.Module]:
        stages: Callable[[], list[nn.Module]] | None = getattr(self.backbone, "stages", None)
        if stages is None:
            raise ModelError("model.freeze: this model has no stages to count", hint="`freeze: backbone` leaves all of it")
        return stages()

    def train(self, mode: bool = True) -> Self:
        """Sets the mode of all parts but the frozen ones."""
        super().train(mode)
        for stage in self._frozen:
            stage.eval()
        return self

    def embed(self, images: Tensor) -> Tensor:
        """Features (B, F) of images (B, 3, S, S) in [0, 1]."""
        features: Tensor = self.backbone(self.normalise(images))
        return features

    def score(self, features: Tensor) -> Tensor:
        """Logits (B, C) of features (B, F); drops out some features while training."""
        logits: Tensor = self.head(self.dropout(features))
        return logits

    def forward(self, images: Tensor) -> Tensor:
        return self.score(self.embed(images))


def count_parameters(model: nn.Module) -> int:
    """How many numbers all parameters hold, frozen ones too; buffers are not among them."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds(model: nn.Module, image_size: int) -> int:
    """Multiply-adds of convolutions and matrix products for one image of `image_size` pixels.

    Nothing is computed and the model stays as it is.
    """
    # Imported here because it brings torch's compiler along, which takes about a second.
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        meta_forward(model, image_size)
    operations: int = counter.get_total_flops()
    return operations // 2  # it counts the multiplication and the addition


def meta_forward(model: nn.Module, image_size: int) -> Tensor:
    """What `model` gives in eval mode for one image, as a tensor without memory: its shape, at no cost.

    The model's own tensors are neither read nor changed.
    """
    # Parameters that want gradients keep attention on the path that the counter of multiply-adds can see into.
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
