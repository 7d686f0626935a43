"""When a run's checkpoints are written: last.pt to go on from, best.pt to use."""

import copy
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from facecls import checkpoint
from facecls.checkpoint import Checkpoint
from facecls.run import Run
from facecls.training.state import TrainingState

_SHARE = 0.01  # of a run's time that may go into writing at the ends of epochs


class NoCheckpointWriter:
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


class CheckpointWriter(NoCheckpointWriter):
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
        files.append((self.run.last, _on_host(last, {})))  # training changes the tensors while they are written
        self._best = None
        self._writer = threading.Thread(target=self._write, args=(files,), name="facecls-save")
        self._saved_at = time.perf_counter()
        self._cost = self._saved_at - begun
        self._writer.start()

    def due(self) -> bool:
        """Whether `train.save_minutes` have gone by since last.pt was written."""
        return time.perf_counter() - self._saved_at > self.save_seconds

    def epoch_end(self, state: TrainingState) -> None:
        """Writes last.pt where it is due, or where that takes no more than a hundredth of the time since it was written.

        In epochs with fewer steps than lie between two looks of the loop, nobody else asks whether it is due.
        """
        if self._writer is not None and self._writer.is_alive():
            return
        self.wait()  # for the error, if there was one
        if self.due() or time.perf_counter() - self._saved_at >= self._cost / _SHARE:
            self.last(state)

    def best(self, state: TrainingState, size: int) -> None:
        """Keeps the averaged weights for best.pt, for faces of `size` pixels."""
        weights: dict[str, Tensor] = _on_host(state.averaged.state_dict(), {})
        self._best = checkpoint.to_plain(self._held(weights, state.best or {}, size))

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


def _on_host(held: Any, copied: dict[int, Any]) -> Any:
    """A copy of plain values whose tensors are the host's: a device has no room to hold all of training twice.

    What is held in two places is copied once, as `copied` (by id) remembers, so that it is also written once.
    """
    if id(held) not in copied:
        if isinstance(held, Tensor):
            copied[id(held)] = held.detach().to("cpu", copy=True)
        elif isinstance(held, dict):
            whole = copied[id(held)] = copy.copy(held)  # a state dict tells the versions of its modules beside its items
            whole.update({key: _on_host(value, copied) for key, value in held.items()})
        elif isinstance(held, list | tuple):
            copied[id(held)] = type(held)(_on_host(value, copied) for value in held)
        else:
            return held
    return copied[id(held)]
