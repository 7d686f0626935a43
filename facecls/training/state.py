"""All that changes while training: saved and loaded as a whole, so that a run goes on where it was."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from facecls.config.schema import Config
from facecls.device import Device
from facecls.errors import ModelError
from facecls.models import build_model
from facecls.models.classifier import FaceClassifier
from facecls.training.ema import Average, NoAverage, build_average
from facecls.training.schedule import build_optimizer


class RunningMetrics:
    """Sums over the steps of an epoch; they stay on the device and are read when somebody looks."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, device=device)  # loss, right, faces
        self._seen = torch.zeros(3, pin_memory=device.type == "cuda")

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Adds a batch: its mean loss, logits (B, C), labels (B,)."""
        right = (logits.argmax(1) == labels).sum()
        self.sums += torch.stack([loss * len(labels), right.float(), torch.full_like(loss, len(labels))])

    def non_finite(self) -> Tensor:
        """1.0 if a loss of the epoch was NaN or infinite, else 0.0, on the device: the sum then is not finite either."""
        return 1.0 - self.sums[0].isfinite().float()

    def peek(self) -> tuple[float, float]:
        """(mean loss, accuracy) as of the last glance where reading them now would make the device wait."""
        if self.sums.device.type == "cpu":
            return self.read()
        loss, right, faces = self._seen.tolist()
        self._seen.copy_(self.sums, non_blocking=True)
        return loss / max(faces, 1), right / max(faces, 1)

    def read(self, sums: Tensor | None = None) -> tuple[float, float]:
        """(mean loss, accuracy) of the epoch so far, or of other such sums."""
        loss, right, faces = (self.sums if sums is None else sums).tolist()
        return loss / max(faces, 1), right / max(faces, 1)


@dataclass
class TrainingState:
    """The model with everything that moves it, and where in training it stands."""

    model: FaceClassifier
    average: Average | NoAverage
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    running: RunningMetrics
    epochs: int  # as planned: a time budget may leave fewer than the config names
    epoch: int = 0
    step: int = 0  # the next one of the epoch
    best: dict[str, Any] | None = None  # the best epoch's row of metrics.jsonl
    lr_factor: float = 1.0  # halved when a loss or a weight was not finite
    seconds: float = 0.0  # spent before this process
    processes: int = 1  # that share each batch
    epoch_seconds: dict[str, float] = field(default_factory=lambda: {"train": 0.0, "waited": 0.0})

    @property
    def averaged(self) -> FaceClassifier:
        """The model that is scored and kept."""
        model = self.average.model
        assert isinstance(model, FaceClassifier)
        return model

    @property
    def ended(self) -> bool:
        """Whether all epochs are done."""
        return self.epoch >= self.epochs

    @property
    def data_wait_share(self) -> float:
        """The share of the epoch's training time that went into waiting for faces."""
        return self.epoch_seconds["waited"] / self.epoch_seconds["train"] if self.epoch_seconds["train"] else 0.0

    def begin_epoch(self, epoch: int, seconds: float) -> None:
        """Stands before the first step of an epoch, `seconds` after the beginning of training."""
        self.epoch, self.step, self.seconds = epoch, 0, seconds
        self.running.sums.zero_()
        self.epoch_seconds = {"train": 0.0, "waited": 0.0}

    def non_finite(self) -> Tensor:
        """1.0 if a weight of the model is NaN or infinite, else 0.0, on the device: their sum then is not finite either."""
        sums = [tensor.sum(dtype=torch.float32) for tensor in self.model.state_dict().values() if tensor.is_floating_point()]
        return 1.0 - torch.stack(sums).sum().isfinite().float()

    def to_plain(self) -> dict[str, Any]:
        """Plain values and tensors, which go on living: copy before they change."""
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "sums": self.running.sums,
            "epochs": self.epochs,
            "epoch": self.epoch,
            "step": self.step,
            "best": self.best,
            "lr_factor": self.lr_factor,
            "seconds": self.seconds,
            "processes": self.processes,
            "epoch_seconds": dict(self.epoch_seconds),
        }

    def load_plain(self, plain: dict[str, Any]) -> None:
        """Goes back or on to what `to_plain` gave."""
        self.model.load_state_dict(plain["model"])
        self.average.load_state_dict(plain["average"])
        # Copied: an optimizer keeps the tensors that it is given, which would be those mapped from a file since replaced.
        self.optimizer.load_state_dict(copy.deepcopy(plain["optimizer"]))
        self.scaler.load_state_dict(plain["scaler"])
        self.running.sums.copy_(plain["sums"])
        self.epochs, self.epoch, self.step = plain["epochs"], plain["epoch"], plain["step"]
        self.best = plain["best"]
        self.lr_factor, self.seconds = plain["lr_factor"], plain["seconds"]
        self.epoch_seconds = dict(plain["epoch_seconds"])


def build_state(config: Config, classes: int, device: Device, begin: Callable[[FaceClassifier], object]) -> TrainingState:
    """A fresh state; the model's first weights follow from the seed, `begin` may put others in their place.

    Raises ModelError for a `train.start_size` or a `model.freeze` that the model cannot take.
    """
    torch.manual_seed(config.seed)
    model = build_model(config.model, config.head, classes=classes, image_size=config.data.image_size)
    start, only = config.train.start_size, model.fixed_size
    if start is not None and only is not None and start != only:
        raise ModelError(
            f"train.start_size: `{config.model.name}` takes images of one size, {only} pixels, so it cannot start at {start}",
            hint="leave train.start_size out",
        )
    begin(model)
    model.freeze(config.model.freeze)
    device.place(model)
    return TrainingState(
        model=model,
        average=build_average(model, config.train.ema),
        optimizer=build_optimizer(model, config.optimizer),
        scaler=torch.amp.GradScaler(device.type, enabled=device.dtype == torch.float16),
        running=RunningMetrics(device.torch_device),
        epochs=config.train.epochs,
    )
