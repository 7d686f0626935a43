"""Dry run: a few training steps on one batch, to measure loss, time per epoch and memory."""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from facecls import seeding
from facecls.config.schema import Config
from facecls.data.dataset import DatasetIndex
from facecls.data.detections import detect_all
from facecls.data.listing import ImageList
from facecls.data.load import LoadedSplit, geometry_of
from facecls.data.sampler import Batch, TrainLoader, loss_weights, steps_per_epoch
from facecls.data.stores.choose import choose_store, measure_available
from facecls.data.stores.memory import MainFaces, read_into_memory
from facecls.device import Device
from facecls.errors import DataError
from facecls.evaluation.infer import infer
from facecls.models import count_parameters, multiply_adds
from facecls.progress import Reporter, no_progress
from facecls.run import RUNS, Run
from facecls.training.disk_space import require_space
from facecls.training.distributed import SingleProcess
from facecls.training.schedule import resolution_at
from facecls.training.state import TrainingState, build_state
from facecls.training.step import TrainStep
from facecls.training.transfer import load_pretrained

_TIMED_STEPS = 3  # after one warm-up step


@dataclass(frozen=True)
class DryRun:
    """Measurements of one batch, forward and backward; times in seconds, memory in bytes."""

    device: str
    threads: int
    parameters: int
    multiply_adds: int  # for one image of `data.image_size`
    faces: int  # images in the batch
    loss: float
    steps: int  # per epoch
    step_seconds: dict[int, float]  # by image side in pixels: `train.start_size` (if set) and `data.image_size`
    epoch_seconds: float  # of the last epoch, with validation
    training_seconds: float  # of all epochs
    reading_seconds: float  # to decode all images once
    peak_bytes: int | None  # of the GPU, or of this process if there is no GPU; None if the system does not report it
    faces_bytes: int  # of all decoded images
    store: str
    store_why: str  # empty if the config names the store
    notes: tuple[str, ...] = ()


def dry_run_batch(config: Config, dataset: DatasetIndex, device: Device, progress: Reporter) -> DryRun:
    """Trains a new model on one batch for a few steps, in memory only.

    An epoch's time is that of its steps and of the validation; waiting for a disk or network is not included. Raises
    ModelError as training does, DataError if fewer than two images of the batch can be read, and RunError if the disk of runs/
    is too small for a run.
    """
    notes: list[str] = []
    classes = len(dataset.classes)
    image_list = dataset.splits["train"]
    steps = steps_per_epoch(len(image_list.labels), config.train.batch_size * config.train.accumulate)
    split, reading = _read_first_batch(config, image_list, steps)
    state = build_state(
        config, classes, device, lambda model: notes.extend(load_pretrained(model, config.model, dataset.classes))
    )
    require_space(Run(RUNS), state, config.optimizer)
    train_step = TrainStep(
        config,
        device,
        state.model,
        classes=classes,
        class_weights=loss_weights(config.data.balance, image_list.labels, dataset.classes),
        steps_per_epoch=steps,
        group=SingleProcess(),
        progress=progress,
    )
    (batch,) = TrainLoader(split, len(split), config.seed, device).epoch(0)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device.torch_device)
    sides = sorted({resolution_at(config, 0, state.epochs), config.data.image_size})
    loss, step_seconds = _timed_steps(train_step, state, batch, sides)
    peak = _peak_bytes(device)
    counts = {name: len(image_list.labels) for name, image_list in dataset.splits.items()}
    validation = _timed(lambda: infer(state.averaged, split, device)) / len(split) * counts.get("val", 0)
    epoch_seconds = [
        steps * _seconds_at(resolution_at(config, epoch, state.epochs), step_seconds) + validation
        for epoch in range(state.epochs)
    ]
    decoded = sum(count for name, count in counts.items() if name != "test")  # training does not read test
    faces_bytes = decoded * 3 * config.data.image_size**2
    store, why = config.data.store, ""
    if store == "auto":
        store, why = choose_store(faces_bytes, measure_available(config.data.cache_dir, device.torch_device))
    return DryRun(
        device=str(device),
        threads=torch.get_num_threads(),
        parameters=count_parameters(state.model),
        multiply_adds=multiply_adds(state.model, config.data.image_size),
        faces=len(split),
        loss=loss,
        steps=steps,
        step_seconds=step_seconds,
        epoch_seconds=epoch_seconds[-1],
        training_seconds=sum(epoch_seconds),
        reading_seconds=reading * decoded,
        peak_bytes=peak,
        faces_bytes=faces_bytes,
        store=store,
        store_why=why,
        notes=tuple(notes),
    )


def _read_first_batch(config: Config, image_list: ImageList, steps: int) -> tuple[LoadedSplit, float]:
    """The readable images of the first epoch's first batch, and the mean seconds to decode one image."""
    order = torch.randperm(len(image_list.labels), generator=seeding.generator("order", config.seed, 0)).numpy()
    chosen = np.array_split(order, steps)[0]  # the first batch is the largest
    sample = image_list.take(chosen)
    geometry = geometry_of(config.data)
    start = time.perf_counter()
    found: MainFaces = ()
    if geometry.detection is not None:
        found = detect_all(sample.paths, geometry.detection, no_progress, "", config.data.cache_dir).main_faces()
    faces, bad = read_into_memory(sample.paths, geometry, lambda _: None, found)
    seconds = (time.perf_counter() - start) / len(chosen)
    readable = np.setdiff1d(np.arange(len(chosen)), [index for index, _ in bad])
    if len(readable) < 2:
        raise DataError(
            f"only {len(readable)} of {len(chosen)} images of the first batch can be read",
            *(str(error) for _, error in bad[:5]),
        )
    return LoadedSplit("train", sample.take(readable), faces.take(readable)), seconds


def _timed_steps(train_step: TrainStep, state: TrainingState, batch: Batch, sizes: list[int]) -> tuple[float, dict[int, float]]:
    """The loss of the first step, and the fastest step's seconds at each image size."""
    losses, seconds = [], {}
    state.model.train()

    def step(size: int) -> None:
        state.running.sums.zero_()
        train_step.step(state, batch, size)
        losses.append(state.running.read()[0])  # waits for the device

    for size in sizes:
        step(size)
        seconds[size] = min(_timed(partial(step, size)) for _ in range(_TIMED_STEPS))
    return losses[0], seconds


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def _seconds_at(size: int, measured: dict[int, float]) -> float:
    """A step's seconds at `size` pixels, interpolated linearly in image area."""
    sizes = sorted(measured)
    return float(np.interp(size**2, [side**2 for side in sizes], [measured[side] for side in sizes]))


def _peak_bytes(device: Device) -> int | None:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device.torch_device))
    if sys.platform == "win32":
        return None
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
