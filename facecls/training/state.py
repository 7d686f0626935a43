"""The training state: all that changes while training, saved and loaded as a whole."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from facecls.config.schema import Config
from facecls.device import Device
from facecls.errors import ModelError
from facecls.models import build_model
from facecls.models.classifier import FaceClassifier
from facecls.run import EpochMetrics
from facecls.training.ema import WeightAverage, build_average
from facecls.training.optimizer import build_optimizer

_NUMBERS = ("epochs", "epoch", "step", "lr_factor", "seconds", "train_seconds", "wait_seconds")
_BUDGET_SHARE = 0.95  # of `train.max_minutes`; the last validation takes the rest


class RunningMetrics:
    """Sums of loss and correct predictions over the steps of an epoch; they stay on the device until they are read."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, device=device)  # loss, correct, images
        self.skipped = torch.zeros((), device=device)  # steps whose gradient was not finite; without those of fp16's scaler
        self._peeked = torch.zeros(3, pin_memory=device.type == "cuda")

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: its mean loss, logits (B, C), labels (B,)."""
        correct = (logits.argmax(1) == labels).sum()
        self.sums += torch.stack([loss * len(labels), correct.float(), torch.full_like(loss, len(labels))])

    def non_finite(self) -> Tensor:
        """1.0 if a loss of the epoch was NaN or infinite, else 0.0, on the device."""
        return 1.0 - self.sums[0].isfinite().float()

    def peek(self) -> tuple[float, float]:
        """(mean loss, accuracy); on a GPU those of the previous call, which do not make the host wait."""
        if self.sums.device.type == "cpu":
            return self.read()
        previous = self.read(self._peeked)
        self._peeked.copy_(self.sums, non_blocking=True)
        return previous

    def read(self, sums: Tensor | None = None) -> tuple[float, float]:
        """(mean loss, accuracy) of the epoch so far, or of other such sums."""
        loss, correct, images = (self.sums if sums is None else sums).tolist()
        return loss / max(images, 1), correct / max(images, 1)


@dataclass
class TrainingState:
    """The model, its average and optimizer, and the position in training."""

    model: FaceClassifier
    average: WeightAverage
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    running: RunningMetrics
    epochs: int  # planned; a time budget may end training before
    budget: float | None = None  # seconds of training, from `train.max_minutes`
    epoch: int = 0
    step: int = 0  # the next one of the epoch
    best: EpochMetrics | None = None
    lr_factor: float = 1.0  # halved by each rollback
    seconds: float = 0.0  # of training so far
    processes: int = 1  # that share each batch
    train_seconds: float = 0.0  # of the epoch, without validation
    wait_seconds: float = 0.0  # of these blocked on the data loader

    @property
    def averaged(self) -> FaceClassifier:
        """The model that is evaluated and kept."""
        model = self.average.model
        assert isinstance(model, FaceClassifier)
        return model

    @property
    def ended(self) -> bool:
        """Whether all epochs are done, or the time budget is used and the last epoch validated."""
        return self.epoch >= self.epochs or (self.out_of_time and self.epoch > 0 and self.step == 0)

    @property
    def out_of_time(self) -> bool:
        """Whether the time budget is used, if there is one."""
        return self.budget is not None and self.seconds >= self.budget

    def position(self, share: float) -> float:
        """The fractional epoch that schedules and ramps follow, at `share` of the current epoch.

        Under a time budget it is the larger one of the epochs done and the share of time used, so that all schedules end.
        """
        position = self.epoch + share
        if self.budget is None:
            return position
        return max(position, self.epochs * min(1.0, self.seconds / self.budget))

    @property
    def data_wait(self) -> float:
        """The share of the epoch's training time blocked on the data loader."""
        return self.wait_seconds / self.train_seconds if self.train_seconds else 0.0

    def begin_epoch(self, epoch: int, seconds: float) -> None:
        """Moves to the first step of an epoch, `seconds` after the start of training."""
        self.epoch, self.step, self.seconds = epoch, 0, seconds
        self.running.sums.zero_()
        self.running.skipped.zero_()
        self.train_seconds = self.wait_seconds = 0.0

    def non_finite(self) -> Tensor:
        """1.0 if a weight of the model is NaN or infinite, else 0.0, on the device."""
        sums = [tensor.sum(dtype=torch.float32) for tensor in self.model.state_dict().values() if tensor.is_floating_point()]
        return 1.0 - torch.stack(sums).sum().isfinite().float()

    def to_plain(self) -> dict[str, Any]:
        """Plain values and tensors; the tensors are those that training changes."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sums": self.running.sums,
            "skipped": self.running.skipped,
            "best": self.best and self.best.to_plain(),
            "processes": self.processes,
            **{name: getattr(self, name) for name in _NUMBERS},
        }

    def load_plain(self, plain: dict[str, Any]) -> None:
        """Restores what `to_plain` returned."""
        self.model.load_state_dict(plain["model"])
        self.average.load_state_dict(plain["average"])
        # Copied: an optimizer keeps the tensors it is given, and these may be mapped from a file that is replaced later.
        self.optimizer.load_state_dict(copy.deepcopy(plain["optimizer"]))
        self.scaler.load_state_dict(plain["scaler"])
        self.running.sums.copy_(plain["sums"])
        self.running.skipped.copy_(plain["skipped"])
        self.best = plain["best"] and EpochMetrics(**plain["best"])
        for name in _NUMBERS:
            setattr(self, name, plain[name])


def build_state(config: Config, classes: int, device: Device, prepare: Callable[[FaceClassifier], object]) -> TrainingState:
    """A new state; the initial weights follow from the seed, and `prepare` may replace them.

    Raises ModelError if the model cannot take `train.start_size` or `model.freeze`.
    """
    torch.manual_seed(config.seed)
    model = build_model(config.model, config.head, classes=classes, image_size=config.data.image_size)
    start, fixed = config.train.start_size, model.fixed_size
    if start is not None and fixed is not None and start != fixed:
        raise ModelError(
            f"train.start_size: `{config.model.name}` takes images of {fixed} pixels only, not {start}",
            hint="leave train.start_size out",
        )
    prepare(model)
    model.freeze(config.model.freeze)
    device.place(model)
    return TrainingState(
        model=model,
        average=build_average(model, config.train.ema),
        optimizer=build_optimizer(model, config.optimizer),
        scaler=torch.amp.GradScaler(device.type, enabled=device.dtype == torch.float16),
        running=RunningMetrics(device.torch_device),
        epochs=config.train.epochs,
        budget=None if config.train.max_minutes is None else _BUDGET_SHARE * 60 * config.train.max_minutes,
    )
