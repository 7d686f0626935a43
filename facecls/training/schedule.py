"""The optimizer and the learning rate as a function of where in training a step stands."""

import math
from collections.abc import Callable

import torch
from torch import nn

from facecls.config.schema import OptimizerConfig, ScheduleConfig

_START = 1 / 25  # of the peak, where one-cycle's warm-up begins (torch's OneCycleLR has the same)
_END = 1e-4 / 25  # of the peak, where one-cycle ends

Curve = Callable[[ScheduleConfig, float, float], float]


def build_optimizer(model: nn.Module, config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer of the section, over the parameters that need gradients; fused, so that a step is one kernel.

    Biases and the scales of norms (all that has one dimension) are left out of weight decay.
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
            _begin_momentum(sgd)
        return sgd
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(grouped, lr=config.lr, betas=(config.momentum, 0.999), fused=True)


def _begin_momentum(sgd: torch.optim.SGD) -> None:
    """Fills the momentum with zeros, from which the first step goes as from none.

    Fused SGD would only reserve its memory in the first step, and leave it as it is where `found_inf` is 1 in that step:
    fp16's scaler begins so high that it often is.
    """
    for group in sgd.param_groups:
        for parameter in group["params"]:
            sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter, requires_grad=False)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Gives every group its share of the rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


def rate_of(optimizer: torch.optim.Optimizer) -> float:
    """The rate that `set_rate` gave: the head's, of which the backbone's may be a share."""
    rate: float = next(group["lr"] for group in optimizer.param_groups if group["factor"] == 1.0)
    return rate


def learning_rate(schedule: ScheduleConfig, peak: float, epoch: float, epochs: float) -> float:
    """The rate of the step that begins at `epoch` (a fraction within an epoch) of `epochs`; warm-up lasts at most half."""
    warmup = min(schedule.warmup_epochs, epochs / 2)
    return peak * SCHEDULES[schedule.name](schedule.model_copy(update={"warmup_epochs": warmup}), epoch, epochs)


def _onecycle(schedule: ScheduleConfig, epoch: float, epochs: float) -> float:
    """Rises along a cosine from 1/25, falls along one to almost nothing (Smith 2018, arXiv:1708.07120)."""
    if epoch < schedule.warmup_epochs:
        return _along_cosine(_START, 1.0, epoch / schedule.warmup_epochs)
    return _along_cosine(1.0, _END, (epoch - schedule.warmup_epochs) / (epochs - schedule.warmup_epochs))


def _cosine(schedule: ScheduleConfig, epoch: float, epochs: float) -> float:
    """Rises along a line, falls along a cosine to nothing (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    if epoch < schedule.warmup_epochs:
        return epoch / schedule.warmup_epochs
    return _along_cosine(1.0, 0.0, (epoch - schedule.warmup_epochs) / (epochs - schedule.warmup_epochs))


def _step(schedule: ScheduleConfig, epoch: float, epochs: float) -> float:
    return _constant(schedule, epoch, epochs) * schedule.step_factor ** int(epoch / schedule.step_epochs)


def _constant(schedule: ScheduleConfig, epoch: float, epochs: float) -> float:  # noqa: ARG001 -- a curve like the others
    return min(1.0, epoch / schedule.warmup_epochs) if schedule.warmup_epochs else 1.0


def _along_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * min(share, 1.0))) / 2


SCHEDULES: dict[str, Curve] = {"onecycle": _onecycle, "cosine": _cosine, "step": _step, "constant": _constant}
