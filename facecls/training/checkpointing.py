"""Writes the files of a run during training: last.pt to resume from, best.pt to use, metrics.jsonl."""

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from facecls import checkpoint
from facecls.checkpoint import Checkpoint
from facecls.errors import RunError
from facecls.files import is_disk_full
from facecls.run import EpochMetrics, Run
from facecls.training.state import TrainingState

_SHARE = 0.01  # of the training time that may go into writing at the ends of epochs


class RunWriter(Protocol):
    """Writes the files of a run."""

    # last.pt, and best.pt if a better one is pending; a full disk is an error only if it is `final`
    def save(self, state: TrainingState, *, final: bool = False) -> None: ...
    def due(self) -> bool: ...  # whether `train.save_minutes` have passed since last.pt was written
    def epoch_end(self, state: TrainingState) -> None: ...  # saves if that is due, or costs little of the time since then
    def keep_best(self, state: TrainingState, size: int) -> None: ...  # averaged weights for images of `size` pixels
    def discard_best(self) -> None: ...  # one that is not on the disk yet
    def log(self, row: EpochMetrics) -> None: ...  # a line of metrics.jsonl
    def truncate_log(self, epoch: int) -> None: ...  # removes the lines of `epoch` and later ones
    def wait(self) -> None: ...  # until all is on the disk; raises the error of a failed write


class NullWriter:
    """Writes nothing, on ranks above 0."""

    def save(self, state: TrainingState, *, final: bool = False) -> None: ...
    def due(self) -> bool:
        return False

    def epoch_end(self, state: TrainingState) -> None: ...
    def keep_best(self, state: TrainingState, size: int) -> None: ...
    def discard_best(self) -> None: ...
    def log(self, row: EpochMetrics) -> None: ...
    def truncate_log(self, epoch: int) -> None: ...
    def wait(self) -> None: ...


class BackgroundWriter:
    """Writes checkpoints in a thread; the error of a failed write is raised by the next call.

    best.pt is written with last.pt and before it, so that after a crash the best epoch named in last.pt is on the disk. While
    the disk is full, training continues: what could not be written is written with the next save, which raises if it is final.
    """

    def __init__(self, run: Run, template: Checkpoint, save_minutes: float, note: Callable[[str], object]) -> None:
        self.run = run
        self.template = template  # a checkpoint of this run without weights and metrics
        self.note = note
        self.save_seconds = 60 * save_minutes
        self._saved_at = time.perf_counter()
        self._cost = 0.0  # seconds of training time that the last write took, at most
        self._best: dict[str, Any] | None = None  # the content of best.pt, if it is not written yet
        self._rows: list[EpochMetrics] = []  # that are not in metrics.jsonl yet
        self._full = False  # whether a full disk has been reported
        self._thread: threading.Thread | None = None
        self._files: list[tuple[Path, dict[str, Any]]] = []  # that the thread has not written yet
        self._final = False  # whether they are the last ones
        self._error: BaseException | None = None

    def save(self, state: TrainingState, *, final: bool = False) -> None:
        started = time.perf_counter()
        self.wait()
        self._log_rows(final=final)
        training = state.to_plain()
        weights = training["average"].get("weights", training["model"])  # the same tensors, so written once
        rows = [*self.run.rows(), *self._rows]
        metrics = rows[-1].to_plain() if rows else {}
        size = metrics.get("image_size", self.template.geometry.image_size)
        last = checkpoint.to_plain(self._checkpoint(weights, metrics, size), training)
        files = [] if self._best is None else [(self.run.best, self._best)]
        files.append((self.run.last, _to_host(last, {})))  # training changes the tensors while they are written
        self._best = None
        self._files, self._final = files, final
        self._thread = threading.Thread(target=self._write, name="facecls-save")
        self._saved_at = time.perf_counter()
        self._cost = self._saved_at - started
        self._thread.start()

    def due(self) -> bool:
        return time.perf_counter() - self._saved_at > self.save_seconds

    def epoch_end(self, state: TrainingState) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        self.wait()  # for the error, if there was one
        if self.due() or time.perf_counter() - self._saved_at >= self._cost / _SHARE:
            self.save(state)

    def keep_best(self, state: TrainingState, size: int) -> None:
        weights: dict[str, Tensor] = _to_host(state.averaged.state_dict(), {})
        metrics = {} if state.best is None else state.best.to_plain()
        self._best = checkpoint.to_plain(self._checkpoint(weights, metrics, size))

    def discard_best(self) -> None:
        self._best = None

    def log(self, row: EpochMetrics) -> None:
        self._rows.append(row)
        self._log_rows()

    def truncate_log(self, epoch: int) -> None:
        self._rows = [row for row in self._rows if row.epoch < epoch]
        self.run.truncate_rows(epoch)

    def wait(self) -> None:
        if self._thread is None:
            return
        self._thread.join()
        self._thread = None
        error, self._error = self._error, None
        if error is None:
            self._full = False
            return
        self._tolerate(error, final=self._final)
        if self._best is None:
            self._best = next((plain for path, plain in self._files if path == self.run.best), None)

    def _log_rows(self, *, final: bool = False) -> None:
        try:
            while self._rows:
                self.run.log(self._rows[0])
                del self._rows[0]
        except RunError as error:
            self._tolerate(error, final=final)

    def _tolerate(self, error: BaseException, *, final: bool) -> None:
        """Raises the error unless it is a full disk and there will be another save; then it is reported once."""
        if not is_disk_full(error):
            raise error
        if final:
            later = ", then continue the run with --resume" if self.run.last.exists() else ""
            raise RunError(str(error), hint=f"free some disk space{later}") from error
        if not self._full:
            self.note(f"warning: {error}; training continues and saves when there is space")
        self._full = True

    def _checkpoint(self, weights: dict[str, Tensor], metrics: dict[str, Any], size: int) -> Checkpoint:
        geometry = replace(self.template.geometry, image_size=size)
        return replace(self.template, geometry=geometry, weights=weights, metrics=metrics)

    def _write(self) -> None:
        try:
            while self._files:
                checkpoint.save(*self._files[0])
                del self._files[0]
        except BaseException as error:
            self._error = error
        self._cost += time.thread_time()  # processor time that training may have needed


def _to_host(value: Any, copied: dict[int, Any]) -> Any:
    """A copy of nested values whose tensors are on the CPU; a device has no memory for a second copy.

    `copied` maps ids to copies, so that what occurs twice is copied, and later written, once.
    """
    if id(value) not in copied:
        if isinstance(value, Tensor):
            copied[id(value)] = value.detach().to("cpu", copy=True)
        elif isinstance(value, dict):
            new = copied[id(value)] = copy.copy(value)  # keeps the attribute `_metadata` of a state dict
            new.update({key: _to_host(item, copied) for key, item in value.items()})
        elif isinstance(value, list | tuple):
            copied[id(value)] = type(value)(_to_host(item, copied) for item in value)
        else:
            return value
    return copied[id(value)]
