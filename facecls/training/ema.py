"""Exponential moving average (EMA) of the weights, which is evaluated and kept.

torch.optim.swa_utils.AveragedModel would do, but its update reads a counter on the device, for which the host would have to
wait in every step.
"""

import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn


class WeightAverage(Protocol):
    """The averaged model."""

    model: nn.Module

    def update(self, model: nn.Module) -> None: ...  # after each optimizer step
    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class NoAverage:
    """No averaging: the averaged model is the trained one."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def update(self, model: nn.Module) -> None: ...
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class EMA:
    """EMA of weights and batch-norm statistics; after t updates the decay is min(decay, (1 + t) / (10 + t)).

    The statistics are averaged with the weights: those of the last step belong to other weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0
        self._averaged = _floats(self.model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._averaged, _floats(model), 1 - decay)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["weights"])
        self.updates = state["updates"]


def build_average(model: nn.Module, decay: float) -> WeightAverage:
    """The average for `train.ema`; a decay of 0 disables it."""
    return EMA(model, decay) if decay else NoAverage(model)


def _floats(model: nn.Module) -> list[Tensor]:
    return [tensor for tensor in model.state_dict().values() if tensor.is_floating_point()]
