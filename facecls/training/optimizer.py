"""The optimizer and its learning rate."""

import torch
from torch import nn

from facecls.config.schema import OptimizerConfig


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """A fused SGD, Adam or AdamW over the parameters that require gradients.

    Weight decay is not applied to one-dimensional parameters: biases and the scales of normalisation layers.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            factor = config.backbone_lr_factor if name.startswith("backbone.") else 1.0
            groups.setdefault((decay, factor), []).append(parameter)
    grouped = [{"params": members, "weight_decay": decay, "factor": factor} for (decay, factor), members in groups.items()]
    if config.name == "sgd":
        nesterov = config.nesterov and config.momentum > 0
        sgd = torch.optim.SGD(grouped, lr=config.lr, momentum=config.momentum, nesterov=nesterov, fused=True)
        if config.momentum > 0:
            _zero_momentum(sgd)
        return sgd
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(grouped, lr=config.lr, betas=(config.momentum, 0.999), fused=True)


def _zero_momentum(sgd: torch.optim.SGD) -> None:
    """Creates momentum buffers of zeros, with which the first step is the same as without.

    Fused SGD allocates them in the first step and leaves them uninitialised if `found_inf` is 1 there, as it often is with
    the initial scale of fp16.
    """
    for group in sgd.param_groups:
        for parameter in group["params"]:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Sets the learning rate of the head; the backbone gets its `backbone_lr_factor` of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["factor"]


def current_lr(optimizer: torch.optim.Optimizer) -> float:
    """The learning rate of the head."""
    lr: float = next(group["lr"] for group in optimizer.param_groups if group["factor"] == 1.0)
    return lr
