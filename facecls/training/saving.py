"""When a run's checkpoints are written: last.pt to go on from, best.pt to use."""

import copy
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from facecls.run import Run
from facecls.training import checkpoint
from facecls.training.checkpoint import Checkpoint
from facecls.training.state import TrainingState

_SHARE = 0.01  # of a run's time that may go into writing at the ends of epochs


class NoSaver:
    """In a process whose team has another one that writes."""

    def last(self, state: TrainingState) -> None:
        """Left to the writing process."""

    def due(self) -> bool:
        """Never: the writing process says when."""
        return False

    def epoch_end(self, state: TrainingState) -> None:
        """Left to the writing process."""

    def best(self, state: TrainingState, size: int) -> None:
        """Left to the writing process."""

    def forget_best(self) -> None:
        """Nothing to forget."""

    def wait(self) -> None:
        """Nothing to wait for."""


class Saver(NoSaver):
    """Writes checkpoints in a thread of its own, beside training; an error there is raised at the next call.

    best.pt goes to the disk together with last.pt, before it: a run that is killed goes on from a last.pt whose best epoch
    has its weights there.
    """

    def __init__(self, run: Run, template: Checkpoint, save_minutes: float) -> None:
        self.run = run
        self.template = template  # a checkpoint of this run but for its weights and metrics
        self.save_seconds = 60 * save_minutes
        self._saved_at = time.perf_counter()
        self._cost = 0.0  # seconds of the loop's time that the last writing took at most
        self._best: dict[str, Any] | None = None  # what best.pt shall hold, where it does not yet
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None

    def last(self, state: TrainingState) -> None:
        """Writes last.pt, and best.pt if there is a better one."""
        begun = time.perf_counter()
        self.wait()
        training = state.to_plain()
        weights = training["average"].get("weights", training["model"])  # the same tensors, so written once
        row = (self.run.rows() or [{}])[-1]
        size = row.get("image_size", self.template.geometry.image_size)
        last = checkpoint.to_plain(self._held(weights, row, size), training)
        files = [] if self._best is None else [(self.run.best, self._best)]
        files.append((self.run.last, copy.deepcopy(last)))  # training changes the tensors while they are written
        self._best = None
        self._writer = threading.Thread(target=self._write, args=(files,), name="facecls-save")
        self._saved_at = time.perf_counter()
        self._cost = self._saved_at - begun
        self._writer.start()

    def due(self) -> bool:
        """Whether `train.save_minutes` have gone by since last.pt was written."""
        return time.perf_counter() - self._saved_at > self.save_seconds

    def epoch_end(self, state: TrainingState) -> None:
        """Writes last.pt, unless that would take more than a hundredth of the time since it was written."""
        if self._writer is not None and self._writer.is_alive():
            return
        self.wait()  # for the error, if there was one
        if time.perf_counter() - self._saved_at >= self._cost / _SHARE:
            self.last(state)

    def best(self, state: TrainingState, size: int) -> None:
        """Keeps the averaged weights for best.pt, for faces of `size` pixels."""
        self._best = checkpoint.to_plain(self._held(copy.deepcopy(state.averaged.state_dict()), state.best or {}, size))

    def forget_best(self) -> None:
        """Drops weights that are not on the disk: the run goes back to where they were not."""
        self._best = None

    def wait(self) -> None:
        """Returns when what was begun is on the disk; raises what went wrong on the way."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _held(self, weights: dict[str, Tensor], metrics: dict[str, Any], size: int) -> Checkpoint:
        geometry = replace(self.template.geometry, image_size=size)
        return replace(self.template, geometry=geometry, weights=weights, metrics=metrics)

    def _write(self, files: list[tuple[Path, dict[str, Any]]]) -> None:
        try:
            for path, plain in files:
                checkpoint.save(path, plain)
        except BaseException as error:
            self._error = error
        # The loop's threads may have wanted every core that this one had.
        self._cost += time.thread_time()
