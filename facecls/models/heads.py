"""Heads: from features to logits, and the margin that makes the true class harder to reach while training."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F  # noqa: N812  the name that all of torch's documentation uses
from torch import Tensor, nn

from facecls.config.schema import HeadConfig


class Head(nn.Module):
    """Features (B, F) to logits (B, C); it never sees the labels, so training and predicting share it.

    Logits are float32 also under autocast: bf16 tells 31.9 from 32 no longer, and scores are compared.
    """

    def with_margin(self, logits: Tensor, targets: Tensor, strength: float) -> Tensor:  # noqa: ARG002  for heads that have one
        """The logits (B, C) to train on, made harder for the true classes.

        `targets` are class probabilities (B, C): one-hot, or soft under mixup, and without label smoothing, which would put
        a share of the margin on every class. `strength`, 0 to 1, scales the margin; at 0 the logits come back as they were.
        """
        return logits


class LinearHead(nn.Linear, Head):
    """A weighted sum of the features and a bias; it has no margin."""

    def forward(self, features: Tensor) -> Tensor:
        with _without_autocast(features.device):
            return F.linear(features.float(), self.weight.float(), self.bias.float())


class CosineHead(Head):
    """`scale` times the cosine between the features and each class's `weight` (C, F)."""

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
    """The margin comes off the true class's cosine: cos(angle) - m. Wang et al. 2018 (arXiv:1801.09414)."""

    def with_margin(self, logits: Tensor, targets: Tensor, strength: float) -> Tensor:
        return logits - targets * (strength * self.margin * self.scale)


class ArcFace(CosineHead):
    """The margin, in radians, widens the true class's angle: cos(angle + m). Deng et al. 2019 (arXiv:1801.07698)."""

    def with_margin(self, logits: Tensor, targets: Tensor, strength: float) -> Tensor:
        margin = strength * self.margin
        cosine = logits.float() / self.scale
        # The slope of the sine is infinite where the cosine is 1 or -1; from 0.06 degrees off either, it counts as flat.
        sine = (1 - cosine.square()).clamp_min(1e-6).sqrt()
        widened = cosine * math.cos(margin) - sine * math.sin(margin)
        # Past half a turn the cosine would rise again and reward the wrong direction: go on falling in a line, as the
        # authors' code does.
        widened = torch.where(cosine >= -math.cos(margin), widened, cosine - margin * math.sin(margin))
        return logits + targets * (self.scale * (widened - cosine))


def _unit(vectors: Tensor) -> Tensor:
    # Vectors shorter than 1e-4 keep less than length 1: an image whose features are all 0 must not get a gradient of 1e12.
    return F.normalize(vectors.float(), eps=1e-4)


def _without_autocast(device: torch.device) -> AbstractContextManager[object]:
    # Not by torch.amp.is_autocast_available, which torch 2.11 cannot compile.
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


HEADS: dict[str, Callable[[HeadConfig, int, int], Head]] = {
    "linear": lambda _head, features, classes: LinearHead(features, classes),
    "cosface": lambda head, features, classes: CosFace(features, classes, head.scale, head.margin),
    "arcface": lambda head, features, classes: ArcFace(features, classes, head.scale, head.margin),
}


def build_head(head: HeadConfig, features: int, classes: int) -> Head:
    """A fresh head from (B, features) to (B, classes)."""
    return HEADS[head.name](head, features, classes)
