"""Weights averaged over the steps of training: they score better than those of any one step."""

import copy
from typing import Any

import torch
from torch import Tensor, nn


class NoAverage:
    """Stands where no average is wanted: the averaged model is the trained one."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def update(self, model: nn.Module) -> None:
        """Nothing to do."""

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to load."""


class Average:
    """An exponential moving average of a model's weights and of its batch norms' statistics.

    Early on, when most of the average would be the random start, the decay is (1 + t) / (10 + t) after t updates. The
    statistics are averaged with the weights, so that they fit them: those of the last step belong to other weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.decay = decay
        self.updates = 0
        self._averaged = _floats(self.model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves the average towards the model after an optimizer's step."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(self._averaged, _floats(model), 1 - decay)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.model.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["weights"])
        self.updates = state["updates"]


def build_average(model: nn.Module, decay: float) -> Average | NoAverage:
    """The average that `train.ema` asks for; 0 asks for none."""
    return Average(model, decay) if decay else NoAverage(model)


def _floats(model: nn.Module) -> list[Tensor]:
    return [tensor for tensor in model.state_dict(keep_vars=False).values() if tensor.is_floating_point()]
