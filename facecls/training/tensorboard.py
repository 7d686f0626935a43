"""TensorBoard, for those who watch their runs there."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from facecls.errors import InstallError

_GRID = 64  # faces in the sample


class NoTracker:
    """Stands where nobody watches."""

    def epoch(self, row: Mapping[str, Any]) -> None:
        """Nothing to write."""

    def batch(self, epoch: int, images: Callable[[], Tensor]) -> None:
        """Nothing to write."""

    def close(self) -> None:
        """Nothing is open."""


class TensorBoard(NoTracker):
    """Writes an epoch's figures as scalars and its first batch of augmented faces as a grid, beside the run's files."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InstallError(
                "train.tensorboard: tensorboard is not installed", hint="`pip install 'facecls[tensorboard]'` adds it"
            ) from error
        self._writer = SummaryWriter(str(folder))

    def epoch(self, row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, row["epoch"])

    def batch(self, epoch: int, images: Callable[[], Tensor]) -> None:
        self._writer.add_images("faces", images()[:_GRID], epoch)

    def close(self) -> None:
        self._writer.flush()
