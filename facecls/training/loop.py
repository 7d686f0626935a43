"""The loop: epochs until the last, the best kept, nothing lost on the way."""

import math
import time
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from facecls.config.schema import Config, Metric
from facecls.data.load import LoadedSplit
from facecls.data.sampler import TrainLoader, loss_weights
from facecls.device import Device
from facecls.errors import TrainingError
from facecls.evaluation.infer import infer
from facecls.evaluation.metrics import score
from facecls.progress import Progress
from facecls.run import Run
from facecls.training import resume
from facecls.training.checkpointing import NoCheckpointWriter
from facecls.training.distributed import SingleProcess
from facecls.training.schedule import rate_of
from facecls.training.signals import Interrupted, Interrupts
from facecls.training.state import TrainingState
from facecls.training.step import TrainStep, pixels_seen, resolution_at
from facecls.training.tensorboard import NoTracker

_PEEK_SECONDS = 0.5  # between two looks of the bar at the loss
_GUARD_STEPS = 32  # between two looks at whether the loss is finite and a save is due, where a look makes the device wait
_MAX_ROLLBACKS = 3  # returns to the last good state before a run is given up


@dataclass(frozen=True)
class TrainingData:
    """What a run trains on and is scored by."""

    classes: tuple[str, ...]
    train: LoadedSplit
    val: LoadedSplit


@dataclass(frozen=True)
class TrainingResult:
    """How a run ended: the best epoch's metrics, and why it ended before its last epoch, if it did."""

    best: dict[str, Any]
    stopped: str = ""


class NotFinite(Exception):  # noqa: N818 -- an event in the loop, an error only when it keeps coming
    """What it names is NaN or infinite: the loss, along which the weights have not been moved, or a weight itself."""


@dataclass
class Loop:
    """Goes through epochs; holds what does not change on the way."""

    config: Config
    data: TrainingData
    device: Device
    run: Run
    writer: NoCheckpointWriter
    tracker: NoTracker
    group: SingleProcess
    progress: Progress
    new_state: Callable[[], TrainingState]  # a state before its first step

    def __post_init__(self) -> None:
        train = self.config.train
        at_once = train.batch_size * train.accumulate * self.group.size
        balance = self.config.data.balance
        self.batches = TrainLoader(
            self.data.train, at_once, self.config.seed, self.device, self.group.rank, self.group.size, balance
        )

    def fit(self, state: TrainingState) -> TrainingResult:
        """Trains until the last epoch; writes metrics.jsonl, last.pt and best.pt.

        Raises Interrupted, after saving, when a signal asks for an end, and TrainingError when the loss or a weight keeps
        being not finite.
        """
        network = self.group.join(state.model, self.device)
        self.train_step = TrainStep(
            self.config,
            self.device,
            cast(nn.Module, torch.compile(network)) if self.config.compile else network,
            classes=len(self.data.classes),
            class_weights=loss_weights(self.config.data.balance, self.data.train.image_list.labels, len(self.data.classes)),
            steps_per_epoch=self.batches.steps,
            group=self.group,
            progress=self.progress,
        )
        rollbacks = 0
        with Interrupts() as interrupts:
            while True:
                try:
                    return self._epochs(state, interrupts)
                except NotFinite as non_finite:
                    rollbacks += 1
                    self._rollback(state, rollbacks, str(non_finite))
                finally:
                    self.writer.wait()
                    self.tracker.close()

    def _epochs(self, state: TrainingState, interrupts: Interrupts) -> TrainingResult:
        best = self.config.train.best
        begun = time.perf_counter() - state.seconds
        while (ended := self._ended(state)) is None:
            self._train_epoch(state, interrupts, begun)
            row = self._score(state, begun)
            better = state.best is None or rank_key(row, best) > rank_key(state.best, best)
            if better:
                state.best = row
                self.writer.best(state, row["image_size"])
            self.run.log(row)
            self.tracker.epoch(row)
            self.progress.epoch(row, state.epochs, better)
            if self.config.train.max_minutes is not None:
                state.epochs = self.group.all_reduce_max(epochs_that_fit(self.config, state.epoch + 1, row["seconds"]))
            state.begin_epoch(state.epoch + 1, time.perf_counter() - begun)
            if self._ended(state) is None:
                self.writer.epoch_end(state)
            else:
                self.writer.last(state)
        if asked := self.group.all_reduce_max(interrupts.asked or 0):  # while the last epoch was scored
            raise Interrupted(asked)
        assert state.best is not None, "every epoch leaves a best"
        return TrainingResult(state.best, ended)

    def _ended(self, state: TrainingState) -> str | None:
        """Why there is no further epoch, "" where the last one planned is done; None where there is one."""
        train = self.config.train
        size, best = self.config.data.image_size, state.best
        grown_up = (
            resolution_at(self.config, state.epoch, state.epochs) == size and best is not None and best["image_size"] == size
        )
        if best is not None and grown_up and state.epoch - best["epoch"] > (train.patience or math.inf):
            return f"no better {train.best} in {train.patience} epochs"
        if state.epoch < state.epochs:
            return None
        cut_short = train.max_minutes is not None and state.epochs < train.epochs
        return f"{train.max_minutes:g} minutes left room for {state.epochs} epochs" if cut_short else ""

    def _train_epoch(self, state: TrainingState, interrupts: Interrupts, begun: float) -> None:
        """The steps of an epoch that are left; saves when it is time to, and when it is asked to end."""
        state.model.train()
        size, full = resolution_at(self.config, state.epoch, state.epochs), self.config.data.image_size
        if size != (resolution_at(self.config, state.epoch - 1, state.epochs) if state.epoch else full):
            self.progress.note(f"images of {size} pixels from here on" + (f", {full} at the end" if size < full else ""))
        clock = _EpochClock(self.batches, state)
        peeked = 0.0
        with self.progress.bar(
            total=self.batches.steps, initial=state.step, desc=f"epoch {state.epoch + 1}/{state.epochs}", unit="step"
        ) as bar:
            for batch in self.batches.epoch(state.epoch, state.step):
                if batch.step == 0:
                    self.tracker.batch(state.epoch, partial(self.train_step.images, state, batch, size))
                self.train_step.step(state, batch, size)
                state.step = batch.step + 1
                clock.tick(state)
                state.seconds = time.perf_counter() - begun
                bar.update()
                if state.seconds - peeked > _PEEK_SECONDS:
                    peeked = state.seconds
                    loss, accuracy = state.running.peek()
                    speed = self.batches.images_seen(state.step) / state.epoch_seconds["train"]
                    bar.set_postfix_str(
                        f"loss {loss:.3f}, accuracy {accuracy:.1%}, {speed:.0f} images/s, waited {state.data_wait_share:.1%}",
                        refresh=False,
                    )
                if self.device.type == "cpu" or state.step % _GUARD_STEPS == 0:
                    due = self.group.all_reduce_max(int(self.writer.due())) > 0  # only the first process has one that saves
                    self._check_finite(state, weights=due)
                    if due:
                        self.writer.last(state)
                if asked := self.group.all_reduce_max(interrupts.asked or 0):
                    self._check_finite(state, weights=True)
                    self.writer.last(state)
                    raise Interrupted(asked)
        self._check_finite(state, weights=True)
        clock.tick(state)  # the check has waited for the steps that a GPU was still at

    def _score(self, state: TrainingState, begun: float) -> dict[str, Any]:
        """The epoch's row of metrics.jsonl; faces have the size that the network has learned on."""
        self.group.broadcast_buffers(state.averaged)  # batch norm's statistics are each process's own
        size = resolution_at(self.config, state.epoch, state.epochs)
        outputs = infer(state.averaged, self.data.val, self.device, self.group.rank, self.group.size, featured=False, size=size)
        shares = self.group.gather(outputs.logits)
        logits = np.concatenate([share for share in shares if len(share)])
        scores = score(logits, self.data.val.image_list.labels, self.data.classes)
        loss, accuracy = state.running.read(self.group.all_reduce_sum(state.running.sums))
        return {
            "epoch": state.epoch,
            "step": (state.epoch + 1) * self.batches.steps,
            "image_size": size,
            "lr": rate_of(state.optimizer),
            "train_loss": loss,
            "train_accuracy": accuracy,
            "val_loss": scores.loss,
            "val_accuracy": scores.accuracy,
            "val_macro_f1": scores.macro_f1,
            "images_per_second": len(self.data.train) / state.epoch_seconds["train"],
            "data_wait": state.data_wait_share,
            "seconds": time.perf_counter() - begun,
        }

    def _check_finite(self, state: TrainingState, *, weights: bool) -> None:
        """Raises NotFinite, in all processes or in none.

        The `weights` are looked at only where they are about to be saved, to be gone back to: a finite loss may have a
        gradient that is not; elsewhere the next loss tells.
        """
        if self.group.any(state.running.non_finite()).item():
            raise NotFinite("the loss")
        if weights and self.group.any(state.non_finite()).item():
            raise NotFinite("a weight")

    def _rollback(self, state: TrainingState, rollbacks: int, non_finite: str) -> None:
        """To the last state that was saved, with half the learning rate; the time that is lost is not forgotten."""
        where = f"epoch {state.epoch + 1}, step {state.step}"
        if rollbacks > _MAX_ROLLBACKS:
            raise TrainingError(
                f"{non_finite} is not finite in {where}, nor was it with half, a quarter and an eighth of the learning rate",
                hint=f"try a lower rate (--set optimizer.lr={self.config.optimizer.lr / 10:g}) or --set precision=fp32",
            )
        self.writer.wait()
        self.writer.forget_best()
        factor, seconds = state.lr_factor / 2, state.seconds
        self.group.all_reduce_max(0)  # nobody reads before the first process has written
        if self.run.last.exists():
            resume.load(self.run, self.config, state)
        else:
            state.load_plain(self.new_state().to_plain())
        state.lr_factor, state.seconds = factor, seconds
        self.run.forget_rows_from(state.epoch)
        self.progress.note(
            f"{non_finite} was not finite in {where}: going on from epoch {state.epoch + 1}, step {state.step}, "
            f"with {factor:g} of the learning rate"
        )


class _EpochClock:
    """Adds up an epoch's seconds, also over an interruption."""

    def __init__(self, batches: TrainLoader, state: TrainingState) -> None:
        self.batches = batches
        self.before = dict(state.epoch_seconds)
        self.begun = time.perf_counter()
        self.data_wait = batches.data_wait

    def tick(self, state: TrainingState) -> None:
        state.epoch_seconds = {
            "train": self.before["train"] + time.perf_counter() - self.begun,
            "waited": self.before["waited"] + self.batches.data_wait - self.data_wait,
        }


def rank_key(row: dict[str, Any], metric: Metric) -> tuple[int, float, float]:
    """What the best is kept by; larger is better: images as large as they come, the figure that was named, the loss.

    On a few images many epochs have the same accuracy, the later ones with more room to spare. Any figure is better than
    one that is NaN.
    """
    goods = (-row["val_loss"] if name == "val_loss" else row[name] for name in (metric, "val_loss"))
    figure, loss = (-math.inf if math.isnan(good) else float(good) for good in goods)
    return row["image_size"], figure, loss


def epochs_that_fit(config: Config, done: int, seconds: float) -> int:
    """How many epochs in all fit into `train.max_minutes`, when `done` took `seconds`; at most `train.epochs`.

    An epoch costs as its pixels do, so that small images early on do not promise too much.
    """
    assert config.train.max_minutes is not None
    budget = 60 * config.train.max_minutes

    def too_many(epochs: int) -> bool:
        return seconds * pixels_seen(config, epochs, epochs) > budget * pixels_seen(config, done, epochs)

    # With more epochs planned, all together take more pixels and those that are done took fewer: what is too many stays so.
    return done + bisect_left(range(done + 1, config.train.epochs + 1), True, key=too_many)
