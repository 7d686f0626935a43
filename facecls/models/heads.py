"""Classification heads: features to logits, and margins on the true class's logit in training."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F  # noqa: N812  the name that all of torch's documentation uses
from torch import Tensor, nn

from facecls.config.schema import HeadConfig


class Head(nn.Module):
    """Features (B, F) to logits (B, C). It takes no labels, so training and prediction share it.

    Logits are float32 under autocast too: logits are compared, and in bf16 31.9 and 32 are equal.
    """

    def with_margin(self, logits: Tensor, targets: Tensor, strength: float) -> Tensor:  # noqa: ARG002  used by heads with a margin
        """The logits (B, C) for the loss, with a margin that lowers those of the true classes.

        `targets` are class probabilities (B, C): one-hot, or soft under mixup, but without label smoothing, which would
        apply a share of the margin to every class. `strength`, 0 to 1, scales the margin; 0 returns equal logits.
        """
        return logits


class LinearHead(nn.Linear, Head):
    """A linear layer with bias, without a margin."""

    def forward(self, features: Tensor) -> Tensor:
        with _without_autocast(features.device):
            return F.linear(features.float(), self.weight.float(), self.bias.float())


class CosineHead(Head):
    """`scale` times the cosine between the features and each class's row of `weight` (C, F)."""

    def __init__(self, features: int, classes: int, scale: float, margin: float) -> None:
        super().__init__()
        self.scale = scale
        self.margin = margin
        self.weight = nn.Parameter(torch.empty(classes, features))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        with _without_autocast(features.device):
            return self.scale * F.linear(_unit(features), _unit(self.weight))

    def extra_repr(self) -> str:
        classes, features = self.weight.shape
        return f"{features=}, {classes=}, scale={self.scale:g}, margin={self.margin:g}"


class CosFace(CosineHead):
    """The margin is subtracted from the true class's cosine: cos(angle) - m. Wang et al. 2018 (arXiv:1801.09414)."""

    def with_margin(self, logits: Tensor, targets: Tensor, strength: float) -> Tensor:
        return logits - targets * (strength * self.margin * self.scale)


class ArcFace(CosineHead):
    """The margin, in radians, is added to the true class's angle: cos(angle + m). Deng et al. 2019 (arXiv:1801.07698)."""

    def with_margin(self, logits: Tensor, targets: Tensor, strength: float) -> Tensor:
        margin = strength * self.margin
        cosine = logits.float() / self.scale
        # The sine's derivative is infinite where the cosine is 1 or -1: clamped within 0.06 degrees of either, it is 0.
        sine = (1 - cosine.square()).clamp_min(1e-6).sqrt()
        widened = cosine * math.cos(margin) - sine * math.sin(margin)
        # Beyond pi the cosine would rise again: continue with a falling line, as the authors' code does.
        widened = torch.where(cosine >= -math.cos(margin), widened, cosine - margin * math.sin(margin))
        return logits + targets * (self.scale * (widened - cosine))


def _unit(vectors: Tensor) -> Tensor:
    # The large eps bounds the gradient where all features are 0, which would be 1e12 with the default.
    return F.normalize(vectors.float(), eps=1e-4)


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    # torch.amp.is_autocast_available would be clearer, but torch 2.11 cannot compile it.
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


HEADS: dict[str, Callable[[HeadConfig, int, int], Head]] = {
    "linear": lambda _head, features, classes: LinearHead(features, classes),
    "cosface": lambda head, features, classes: CosFace(features, classes, head.scale, head.margin),
    "arcface": lambda head, features, classes: ArcFace(features, classes, head.scale, head.margin),
}


def build_head(head: HeadConfig, features: int, classes: int) -> Head:
    """A new head from (B, features) to (B, classes)."""
    return HEADS[head.name](head, features, classes)
