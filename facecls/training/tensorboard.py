"""Writes metrics and augmented images for TensorBoard."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from facecls.errors import InstallError
from facecls.run import EpochMetrics

_GRID = 64  # images in the grid


class Tracker(Protocol):
    """What the metrics and the first batch of each epoch are written to."""

    def epoch(self, row: EpochMetrics) -> None: ...
    def batch(self, epoch: int, images: Callable[[], Tensor]) -> None: ...  # augmented, (B, 3, S, S) in [0, 1]
    def close(self) -> None: ...


class NullTracker:
    """Writes nothing."""

    def epoch(self, row: EpochMetrics) -> None: ...
    def batch(self, epoch: int, images: Callable[[], Tensor]) -> None: ...
    def close(self) -> None: ...


def require_tensorboard() -> Any:
    """The class SummaryWriter; raises InstallError if tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InstallError(
            "train.tensorboard: tensorboard is not installed", hint="`pip install 'facecls[tensorboard]'` adds it"
        ) from error
    return SummaryWriter


class TensorBoardTracker:
    """Writes metrics as scalars and augmented images as a grid, into the run directory.

    Raises InstallError if tensorboard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self._writer = require_tensorboard()(str(folder))

    def epoch(self, row: EpochMetrics) -> None:
        for name, value in asdict(row).items():
            if isinstance(value, int | float) and name != "epoch":
                self._writer.add_scalar(name, value, row.epoch)

    def batch(self, epoch: int, images: Callable[[], Tensor]) -> None:
        self._writer.add_images("faces", images()[:_GRID], epoch)

    def close(self) -> None:
        self._writer.flush()
