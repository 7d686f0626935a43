"""Loss functions by name. To add one, write a function and add it to LOSSES.

A loss takes logits (B, C), embeddings (B, F), targets (B, C) as class probabilities (soft under mixup and cutmix), the `loss`
section, and class weights (C,) or None. It returns the mean over the batch.
"""

# ruff: noqa: ARG001 -- a loss need not use all of its arguments
from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from facecls.config.schema import LossConfig

Loss = Callable[[Tensor, Tensor, Tensor, LossConfig, Tensor | None], Tensor]


def cross_entropy(
    logits: Tensor, embeddings: Tensor, targets: Tensor, config: LossConfig, class_weights: Tensor | None
) -> Tensor:
    """Cross entropy with label smoothing."""
    return functional.cross_entropy(logits, targets, weight=class_weights, label_smoothing=config.label_smoothing)


def focal(logits: Tensor, embeddings: Tensor, targets: Tensor, config: LossConfig, class_weights: Tensor | None) -> Tensor:
    """Cross entropy in which each class counts (1 - p) ** focal_gamma (Lin et al. 2017, arXiv:1708.02002)."""
    smoothed = targets * (1 - config.label_smoothing) + config.label_smoothing / targets.shape[1]
    log_p = functional.log_softmax(logits, 1)
    terms = smoothed * (1 - log_p.exp()) ** config.focal_gamma * -log_p
    return (terms if class_weights is None else terms * class_weights).sum(1).mean()


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "focal": focal}
