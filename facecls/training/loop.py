"""The training loop: epochs of steps, validation, the best epoch, rollback after non-finite values."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from facecls.config.schema import Config
from facecls.data.load import LoadedSplit
from facecls.data.sampler import TrainLoader, loss_weights
from facecls.device import Device
from facecls.errors import TrainingError
from facecls.evaluation.infer import infer
from facecls.evaluation.metrics import compute_metrics
from facecls.progress import Reporter
from facecls.run import EpochMetrics, Run
from facecls.training import resuming
from facecls.training.checkpointing import RunWriter
from facecls.training.distributed import ProcessGroup
from facecls.training.early_stopping import early_stopping
from facecls.training.epochs import epoch_line, rank_key
from facecls.training.optimizer import current_lr
from facecls.training.schedule import resolution_at
from facecls.training.signals import Interrupted, SignalHandler
from facecls.training.state import TrainingState
from facecls.training.step import TrainStep
from facecls.training.trackers import Tracker

_PEEK_SECONDS = 0.5  # between two updates of the progress bar
_CHECK_STEPS = 32  # between two checks of the loss and of the save interval on a GPU, where each makes the host wait
_MAX_ROLLBACKS = 3


@dataclass(frozen=True)
class TrainingData:
    """The class names and the splits to train and to validate on."""

    classes: tuple[str, ...]
    train: LoadedSplit
    val: LoadedSplit


@dataclass(frozen=True)
class TrainingResult:
    """The metrics of the best epoch, and why training stopped early, if it did."""

    best: EpochMetrics
    stopped: str = ""


Callback: TypeAlias = Callable[[EpochMetrics], object]
"""Called on rank 0 after each epoch with its metrics; training stops if it returns True or the reason to stop, a text."""


class NonFiniteError(Exception):
    """Raised if `what`, such as the loss or a weight, is NaN or infinite.

    A step with a non-finite loss or gradient has not changed the weights.
    """


@dataclass
class Loop:
    """Trains epoch by epoch."""

    config: Config
    data: TrainingData
    device: Device
    run: Run
    writer: RunWriter
    tracker: Tracker
    group: ProcessGroup
    progress: Reporter
    new_state: Callable[[], TrainingState]  # the state before the first step
    callbacks: Sequence[Callback] = ()  # on rank 0

    def __post_init__(self) -> None:
        train, group = self.config.train, self.group
        self.size = self.config.data.image_size  # of the last step, pixels
        self.requested_stop: str | None = None  # the reason that a callback gave
        self.loader = TrainLoader(
            self.data.train,
            train.batch_size * train.accumulate * group.size,
            self.config.seed,
            self.device,
            group.rank,
            group.size,
            self.config.data.balance,
        )

    def fit(self, state: TrainingState) -> TrainingResult:
        """Trains until the last epoch; writes metrics.jsonl, last.pt and best.pt.

        Raises Interrupted, after saving, on a signal, and TrainingError if the loss or a weight stays non-finite.
        """
        classes = len(self.data.classes)
        self.train_step = TrainStep(
            self.config,
            self.device,
            state.model,
            classes=classes,
            class_weights=loss_weights(self.config.data.balance, self.data.train.image_list.labels, self.data.classes),
            steps_per_epoch=self.loader.steps,
            group=self.group,
            progress=self.progress,
            compiled=self.config.compile,
        )
        rollbacks = 0
        with SignalHandler() as signals:
            while True:
                try:
                    return self._epochs(state, signals)
                except NonFiniteError as error:
                    rollbacks += 1
                    self._rollback(state, rollbacks, str(error))
                finally:
                    self.writer.wait()

    def _epochs(self, state: TrainingState, signals: SignalHandler) -> TrainingResult:
        metric = self.config.train.best
        started = time.perf_counter() - state.seconds
        early = early_stopping(self.config, self.run.rows() if self.group.rank == 0 else [])
        self._request_stop(early.stopped)
        callbacks: list[Callback] = [early, self.tracker.epoch, *self.callbacks]
        while (stopped := self._stop_reason(state)) is None:
            self._train_epoch(state, signals, started)
            row = self._validate(state, started)
            is_best = state.best is None or rank_key(row, metric) > rank_key(state.best, metric)
            if is_best:
                state.best = row
                self.writer.keep_best(state, row.image_size)
            self.writer.log(row)
            self._request_stop(*([callback(row) for callback in callbacks] if self.group.rank == 0 else []))
            state.seconds = self._elapsed(state, started)
            self.progress.epoch(epoch_line(row, self._epoch_label(state), is_best and metric != "last"))
            state.begin_epoch(state.epoch + 1, state.seconds)
            if self._stop_reason(state) is None:
                self.writer.epoch_end(state)
            else:
                self.writer.save(state, final=True)
        if received := self.group.all_reduce_max(signals.received or 0):  # during the last validation
            raise Interrupted(received)
        assert state.best is not None, "every epoch leaves a best"
        return TrainingResult(state.best, stopped)

    def _stop_reason(self, state: TrainingState) -> str | None:
        """Why there is no further epoch, "" after the last planned one; None if there is one."""
        if self.requested_stop is not None or not state.ended:
            return self.requested_stop
        minutes = self.config.train.max_minutes
        return "" if state.epoch >= state.epochs else f"train.max_minutes={minutes:g} reached in epoch {state.epoch}"

    def _request_stop(self, *answers: object) -> None:
        """Keeps the first reason to stop among the answers of rank 0's callbacks, on all ranks."""
        reasons = [each for each in answers if isinstance(each, str) and each]
        if any(isinstance(each, bool | np.bool_) and each for each in answers):
            reasons.append("a callback returned True")
        self.requested_stop = self.group.all_gather(reasons[0] if reasons else None)[0]

    def _elapsed(self, state: TrainingState, started: float) -> float:
        """Seconds of training so far; under a time budget the same on all ranks, whose schedules follow it."""
        seconds = time.perf_counter() - started
        return seconds if state.budget is None else self.group.all_reduce_max(round(1e6 * seconds)) / 1e6

    def _size(self, state: TrainingState) -> int:
        """The image size, pixels: one per epoch; under a time budget, which may hold few epochs, one per step."""
        epoch = state.epoch if state.budget is None else state.position(state.step / self.loader.steps)
        return resolution_at(self.config, epoch, state.epochs)

    def _epoch_label(self, state: TrainingState) -> str:
        """The number of the epoch, of all planned ones or with the share of the time budget."""
        if (minutes := self.config.train.max_minutes) is None:
            return f"{state.epoch + 1:{len(str(state.epochs))}}/{state.epochs}"
        return f"{state.epoch + 1:2} ({state.seconds / (60 * minutes):.0%} of {minutes:g} min)".replace("%", " %", 1)

    def _train_epoch(self, state: TrainingState, signals: SignalHandler, started: float) -> None:
        """Makes the remaining steps of an epoch; saves when that is due, and on a signal."""
        state.model.train()
        peeked = 0.0
        clock, wait_before = time.perf_counter(), self.loader.data_wait

        def tick() -> None:
            """Adds the time since the last call to the epoch's."""
            nonlocal clock, wait_before
            now, wait = time.perf_counter(), self.loader.data_wait
            state.train_seconds += now - clock
            state.wait_seconds += wait - wait_before
            clock, wait_before = now, wait

        with self.progress.bar(
            total=self.loader.steps, initial=state.step, desc=f"epoch {self._epoch_label(state)}", unit="step"
        ) as bar:
            for batch in self.loader.epoch(state.epoch, state.step):
                if (size := self._size(state)) != self.size:
                    self.size, full = size, self.config.data.image_size
                    self.progress.note(f"image size: {size} pixels" + (f", growing to {full}" if size < full else ""))
                if batch.step == 0:
                    self.tracker.batch(state.epoch, partial(self.train_step.images, state, batch, size))
                self.train_step.step(state, batch, size)
                state.step = batch.step + 1
                tick()
                state.seconds = self._elapsed(state, started)
                bar.update()
                if state.seconds - peeked > _PEEK_SECONDS:
                    peeked = state.seconds
                    loss, accuracy = state.running.peek()
                    speed = self.loader.images_seen(state.step) / state.train_seconds
                    bar.set_postfix_str(
                        f"loss {loss:.3f}, accuracy {accuracy:.1%}, {speed:.0f} images/s, data wait {state.data_wait:.1%}",
                        refresh=False,
                    )
                if self.device.type == "cpu" or state.step % _CHECK_STEPS == 0:
                    due = self.group.all_reduce_max(int(self.writer.due())) > 0
                    self._check_finite(state, weights=due)
                    if due:
                        self.writer.save(state)
                if received := self.group.all_reduce_max(signals.received or 0):
                    self._check_finite(state, weights=True)
                    self.writer.save(state, final=True)
                    raise Interrupted(received)
                if state.out_of_time:
                    break
        self._check_finite(state, weights=True)
        tick()  # the check waits for the last steps on a GPU
        if (skipped := int(state.running.skipped)) == state.step:
            raise NonFiniteError("the gradient of all steps")
        if skipped:
            self.progress.note(f"epoch {state.epoch + 1}: {skipped} of {state.step} steps skipped: gradient not finite")

    def _validate(self, state: TrainingState, started: float) -> EpochMetrics:
        """The metrics of the epoch, at its image size."""
        self.group.broadcast_buffers(state.averaged)  # batch norm's statistics differ between ranks
        size, group = self._size(state), self.group
        outputs = infer(state.averaged, self.data.val, self.device, group.rank, group.size, with_features=False, size=size)
        logits = np.concatenate([share for share in self.group.all_gather(outputs.logits) if len(share)])
        metrics = compute_metrics(logits, self.data.val.image_list.labels, self.data.classes)
        loss, accuracy = state.running.read(self.group.all_reduce_sum(state.running.sums))
        return EpochMetrics(
            epoch=state.epoch,
            step=state.epoch * self.loader.steps + state.step,
            image_size=size,
            lr=current_lr(state.optimizer),
            train_loss=loss,
            train_accuracy=accuracy,
            val_loss=metrics.loss,
            val_accuracy=metrics.accuracy,
            val_macro_f1=metrics.macro_f1,
            images_per_second=self.loader.images_seen(state.step) / state.train_seconds,
            data_wait=state.data_wait,
            seconds=time.perf_counter() - started,
        )

    def _check_finite(self, state: TrainingState, *, weights: bool) -> None:
        """Raises NonFiniteError, on all ranks or on none.

        `weights` are checked only before they are saved: a step with a finite gradient may overflow them.
        """
        if self.group.all_reduce_any(state.running.non_finite()).item():
            raise NonFiniteError("the loss")
        if weights and self.group.all_reduce_any(state.non_finite()).item():
            raise NonFiniteError("a weight")

    def _rollback(self, state: TrainingState, rollbacks: int, what: str) -> None:
        """Restores the last saved state and halves the learning rate; the time spent still counts."""
        place = f"epoch {state.epoch + 1}, step {state.step}"
        if rollbacks > _MAX_ROLLBACKS:
            lower = min(0.1, state.lr_factor * self.config.optimizer.lr / 10)
            raise TrainingError(
                f"{what} is not finite in {place}, also with 1/2, 1/4 and 1/8 of the learning rate",
                hint=f"use a lower rate (--set optimizer.lr={lower:.1g}) or --set precision=fp32",
            )
        self.writer.wait()
        self.writer.discard_best()
        factor, seconds = state.lr_factor / 2, state.seconds
        self.group.all_reduce_max(0)  # no rank reads before rank 0 has written
        if self.run.last.exists():
            resuming.load(self.run, self.config, state)
        else:
            state.load_plain(self.new_state().to_plain())
        resuming.check_same_position(self.run, state, self.group)
        state.lr_factor, state.seconds = factor, seconds
        self.writer.truncate_log(state.epoch)
        self.progress.note(
            f"{what} was not finite in {place}: rolled back to epoch {state.epoch + 1}, step {state.step}, "
            f"with {factor:g} of the learning rate"
        )
