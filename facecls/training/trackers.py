"""Experiment trackers that `train.tracker` names."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from torch import Tensor

from facecls.config.schema import Config
from facecls.run import EpochMetrics, Run
from facecls.training.mlflow import MlflowTracker
from facecls.training.tensorboard import TensorBoardTracker


class Tracker(Protocol):
    """Logs one training, on rank 0 only: `connect`, before images are read, then `start`, and `close` last."""

    def connect(self) -> None: ...  # RunError if its store cannot be used
    def start(self, run: Run, config: Config, note: Callable[[str], None], *, resumed: bool) -> None: ...
    def batch(self, epoch: int, images: Callable[[], Tensor]) -> None: ...  # the first: augmented, (B, 3, S, S) in [0, 1]
    def epoch(self, row: EpochMetrics) -> None: ...
    def finish(self, best: EpochMetrics, report: Callable[[], Path | None]) -> None: ...  # `report` writes the HTML page
    def close(self, error: BaseException | None) -> None: ...  # why training ended early


class NullTracker:
    """Logs nothing."""

    def connect(self) -> None: ...
    def start(self, run: Run, config: Config, note: Callable[[str], None], *, resumed: bool) -> None: ...
    def batch(self, epoch: int, images: Callable[[], Tensor]) -> None: ...
    def epoch(self, row: EpochMetrics) -> None: ...
    def finish(self, best: EpochMetrics, report: Callable[[], Path | None]) -> None: ...
    def close(self, error: BaseException | None) -> None: ...


TRACKERS: dict[str, Callable[[], Tracker]] = {
    "none": NullTracker,
    "tensorboard": TensorBoardTracker,
    "mlflow": MlflowTracker,
}
"""Each raises InstallError if its package is not installed."""


@contextmanager
def logged(tracker: Tracker, run: Run, config: Config, note: Callable[[str], None], *, resumed: bool) -> Iterator[None]:
    """In a `with` that trains: starts the tracker, and closes it with the error that ended training, if any."""
    tracker.start(run, config, note, resumed=resumed)
    try:
        yield
    except BaseException as error:
        tracker.close(error)
        raise
    tracker.close(None)
