"""Logs a training for TensorBoard, into its run directory."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from facecls.config.schema import Config, flatten
from facecls.config.yaml import to_yaml
from facecls.errors import InstallError
from facecls.run import EpochMetrics, Run

_GRID = 64  # images in the grid


class TensorBoardTracker:
    """Logs the config as text, metrics as scalars, augmented images as a grid, and the figures of the best epoch as hparams.

    Raises InstallError if tensorboard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise InstallError(
                "train.tracker: tensorboard is not installed", hint="`pip install 'facecls[tensorboard]'` adds it"
            ) from error
        self._new_writer: Callable[[str], Any] = SummaryWriter

    def connect(self) -> None: ...

    def start(self, run: Run, config: Config, note: Callable[[str], None], *, resumed: bool) -> None:  # noqa: ARG002
        self._writer = self._new_writer(str(run.folder))
        plain = config.model_dump(mode="json")
        self._config = {key: value if isinstance(value, int | float) else str(value) for key, value in flatten(plain).items()}
        self._writer.add_text("config", "    " + to_yaml(plain).replace("\n", "\n    "))

    def batch(self, epoch: int, images: Callable[[], Tensor]) -> None:
        self._writer.add_images("faces", images()[:_GRID], epoch)

    def epoch(self, row: EpochMetrics) -> None:
        for name, value in figures_of(row).items():
            self._writer.add_scalar(name, value, row.epoch)

    def finish(self, best: EpochMetrics, report: Callable[[], Path | None]) -> None:  # noqa: ARG002 -- it keeps no files
        figures = {f"best/{name}": value for name, value in figures_of(best).items()}
        self._writer.add_hparams(self._config, figures, run_name=".")

    def close(self, error: BaseException | None) -> None:  # noqa: ARG002
        self._writer.close()


def figures_of(row: EpochMetrics) -> dict[str, float]:
    """The metrics of an epoch that are numbers, but for its own."""
    return {name: value for name, value in asdict(row).items() if isinstance(value, int | float) and name != "epoch"}
