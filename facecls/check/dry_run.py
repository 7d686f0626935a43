"""A training's first steps on one batch, to know that it runs, how long an epoch will take, and in how much memory."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from facecls import seeding
from facecls.config.schema import Config
from facecls.data.dataset import DatasetIndex
from facecls.data.load import LoadedSplit
from facecls.data.sampler import Batch, TrainLoader, loss_weights, steps_per_epoch
from facecls.data.stores.choose import choose_store, measure_available
from facecls.data.stores.memory import read_into_memory
from facecls.device import Device
from facecls.errors import DataError
from facecls.evaluation.infer import infer
from facecls.faces.geometry import Geometry
from facecls.models import count_parameters, multiply_adds
from facecls.progress import Progress
from facecls.training.distributed import SingleProcess
from facecls.training.schedule import resolution_at
from facecls.training.state import TrainingState, build_state
from facecls.training.step import TrainStep
from facecls.training.transfer import load_pretrained

_STEPS = 3  # that are timed, after one that is not


@dataclass(frozen=True)
class DryRun:
    """What one batch, forward and backward, has shown; times in seconds, memory in bytes."""

    device: str
    threads: int
    parameters: int
    multiply_adds: int  # for one image of `data.image_size`
    faces: int  # in the batch
    loss: float
    steps: int  # of an epoch
    step_seconds: dict[int, float]  # by the side of the images: `train.start_size`, if there is one, and `data.image_size`
    epoch_seconds: float  # of the last epoch, scoring with it
    training_seconds: float  # of all epochs
    reading_seconds: float  # of decoding all faces once
    peak_bytes: (
        int | None
    )  # of the GPU, or, without one, of this process, during these steps; None where the system does not say
    faces_bytes: int  # of all decoded faces
    store: str  # where they will be kept
    store_why: str  # empty where the config says so
    notes: tuple[str, ...] = ()

    @property
    def finite(self) -> bool:
        """Whether the loss is a number."""
        return bool(np.isfinite(self.loss))


def dry_run_batch(config: Config, dataset: DatasetIndex, device: Device, progress: Progress) -> DryRun:
    """Trains on one batch a few times, in memory only.

    The time of an epoch is that of its steps and of scoring `val`, without what a disk or the network may add. Raises
    ModelError as a training would, and DataError where fewer than two images of the batch can be read.
    """
    notes: list[str] = []
    classes = len(dataset.classes)
    image_list = dataset.splits["train"]
    at_once = config.train.batch_size * config.train.accumulate
    steps = steps_per_epoch(len(image_list.labels), at_once)
    order = torch.randperm(len(image_list.labels), generator=seeding.generator("order", config.seed, 0)).numpy()
    chosen = np.array_split(order, steps)[0]  # of an epoch's steps, none is larger
    geometry = Geometry(config.data.image_size, config.data.crop, config.data.fit)
    sample = image_list.take(chosen)
    begun = time.perf_counter()
    faces, bad = read_into_memory(sample.paths, geometry, lambda _: None)
    reading = (time.perf_counter() - begun) / len(chosen)
    kept = np.setdiff1d(np.arange(len(chosen)), [index for index, _ in bad])
    if len(kept) < 2:
        raise DataError(
            f"{len(kept)} of {len(chosen)} images of the first batch can be read", *(str(error) for _, error in bad[:5])
        )
    split = LoadedSplit("train", sample.take(kept), faces.take(kept))

    state = build_state(
        config, classes, device, lambda model: notes.extend(load_pretrained(model, config.model, dataset.classes))
    )
    train_step = TrainStep(
        config,
        device,
        state.model,
        classes=classes,
        class_weights=loss_weights(config.data.balance, image_list.labels, classes),
        steps_per_epoch=steps,
        group=SingleProcess(),
        progress=progress,
    )
    (batch,) = TrainLoader(split, len(split), config.seed, device).epoch(0)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device.torch_device)
    sizes = sorted({resolution_at(config, 0, state.epochs), config.data.image_size})
    loss, step_seconds = _timed_steps(train_step, state, batch, sizes)
    peak = _peak_bytes(device)
    scoring = _timed(lambda: infer(state.averaged, split, device)) / len(split)
    scoring *= len(dataset.splits["val"].labels) if "val" in dataset.splits else 0
    epochs = [
        steps * _seconds_at(resolution_at(config, epoch, state.epochs), step_seconds) + scoring for epoch in range(state.epochs)
    ]
    needed = sum(len(each.labels) for name, each in dataset.splits.items() if name != "test") * 3 * config.data.image_size**2
    store, why = config.data.store, ""
    if store == "auto":
        store, why = choose_store(needed, measure_available(config.data.cache_dir, device.torch_device))
    return DryRun(
        device=str(device),
        threads=torch.get_num_threads(),
        parameters=count_parameters(state.model),
        multiply_adds=multiply_adds(state.model, config.data.image_size),
        faces=len(split),
        loss=loss,
        steps=steps,
        step_seconds=step_seconds,
        epoch_seconds=epochs[-1],
        training_seconds=sum(epochs),
        reading_seconds=reading * sum(len(each.labels) for name, each in dataset.splits.items() if name != "test"),
        peak_bytes=peak,
        faces_bytes=needed,
        store=store,
        store_why=why,
        notes=tuple(notes),
    )


def _timed_steps(train_step: TrainStep, state: TrainingState, batch: Batch, sizes: list[int]) -> tuple[float, dict[int, float]]:
    """The loss of the first step, and the seconds of one at each size."""
    losses, seconds = [], {}
    model: nn.Module = state.model
    model.train()

    def step(size: int) -> None:
        state.running.sums.zero_()
        train_step.step(state, batch, size)
        losses.append(state.running.read()[0])  # which waits for the device

    for size in sizes:
        step(size)
        seconds[size] = min(_timed(lambda size=size: step(size)) for _ in range(_STEPS))  # type: ignore[misc]  # mypy cannot infer it
    return losses[0], seconds


def _timed(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _seconds_at(size: int, measured: dict[int, float]) -> float:
    """A step's seconds on images of `size` pixels, between those that were measured as their areas are."""
    sizes = sorted(measured)
    return float(np.interp(size**2, [side**2 for side in sizes], [measured[side] for side in sizes]))


def _peak_bytes(device: Device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device.torch_device))
    if sys.platform == "win32":
        return None
    import resource  # which Windows does not have

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
