"""Shared by the tests of whole trainings: a config with everything on, and the weights that a run ends with."""

from pathlib import Path
from typing import Any

import torch

from facecls.checkpoint import read_plain
from facecls.config.schema import Config
from facecls.progress import Progress
from facecls.run import Run
from facecls.training.loop import TrainingResult
from facecls.training.train import train

# All that draws chance or keeps state between steps.
EVERYTHING: dict[str, Any] = {
    "model": {"name": "cnn", "dropout": 0.3},
    "head": {"name": "cosface"},
    "augment": {"mixup": 0.2, "cutmix": 0.5},
    "train": {"epochs": 3, "batch_size": 8, "accumulate": 2, "ema": 0.9, "start_size": 16, "clip_norm": 1.0},
}


def run_in(folder: Path, config: Config, *, resume: bool = False) -> TrainingResult:
    result = train(config, Run(folder), Progress(), resume=resume)
    assert result is not None
    return result


def weights(folder: Path) -> dict[str, torch.Tensor]:
    plain = read_plain(folder / "last.pt")
    averaged: dict[str, torch.Tensor] = plain["weights"]
    return averaged | {f"model.{name}": tensor for name, tensor in plain["training"]["model"].items()}


def same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)
