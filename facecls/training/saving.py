"""When a run's checkpoints are written: last.pt to go on from, best.pt to use."""

import copy
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from facecls.run import Run
from facecls.training import checkpoint
from facecls.training.checkpoint import Checkpoint
from facecls.training.state import TrainingState


class NoSaver:
    """In a process whose team has another one that writes."""

    def last(self, state: TrainingState) -> None:
        """Left to the writing process."""

    def last_if_due(self, state: TrainingState) -> None:
        """Left to the writing process."""

    def best(self, state: TrainingState) -> None:
        """Left to the writing process."""

    def wait(self) -> None:
        """Nothing to wait for."""


class Saver(NoSaver):
    """Writes checkpoints in a thread of its own, beside training; an error there is raised at the next call."""

    def __init__(self, run: Run, template: Checkpoint, save_minutes: float) -> None:
        self.run = run
        self.template = template  # a checkpoint of this run but for its weights and metrics
        self.save_seconds = 60 * save_minutes
        self._saved_at = time.perf_counter()
        self._writer: threading.Thread | None = None
        self._error: BaseException | None = None

    def last(self, state: TrainingState) -> None:
        """Writes last.pt."""
        training = state.to_plain()
        weights = training["average"].get("weights", training["model"])  # the same tensors, so written once
        plain = checkpoint.to_plain(replace(self.template, weights=weights, metrics=state.best or {}), training)
        self._write(self.run.last, plain)
        self._saved_at = time.perf_counter()

    def last_if_due(self, state: TrainingState) -> None:
        """Writes last.pt if `train.save_minutes` have gone by since it was."""
        if time.perf_counter() - self._saved_at > self.save_seconds:
            self.last(state)

    def best(self, state: TrainingState) -> None:
        """Writes best.pt, with the averaged weights."""
        weights = state.averaged.state_dict()
        self._write(self.run.best, checkpoint.to_plain(replace(self.template, weights=weights, metrics=state.best or {})))

    def wait(self) -> None:
        """Returns when all is on the disk; raises what went wrong on the way."""
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self, path: Path, plain: dict[str, Any]) -> None:
        self.wait()
        snapshot = copy.deepcopy(plain)  # training changes the tensors while they are written

        def write() -> None:
            try:
                checkpoint.save(path, snapshot)
            except BaseException as error:
                self._error = error

        self._writer = threading.Thread(target=write, name="facecls-save")
        self._writer.start()
