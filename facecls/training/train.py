"""Trains a classifier: from a config to the files of a run directory."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import torch

from facecls.checkpoint import Checkpoint
from facecls.config.schema import Config, DataConfig, resolve_config
from facecls.data.dataset import DatasetIndex, index_dataset
from facecls.data.load import LoadedSplit, geometry_of, load_splits
from facecls.data.split_file import write_split_file
from facecls.device import Device, resolve_device
from facecls.errors import DataError, DeviceError, FaceclsError, RunError, TrainingError
from facecls.models.classifier import FaceClassifier
from facecls.progress import Reporter, SilentProgress
from facecls.run import Run, hash_of
from facecls.text import plural
from facecls.training import resuming
from facecls.training.calibrate import calibrate_run, check_class_names, load_impostors
from facecls.training.checkpointing import BackgroundWriter, NullWriter
from facecls.training.disk_space import require_space
from facecls.training.distributed import ProcessGroup, init_distributed
from facecls.training.loop import Callback, Loop, TrainingData, TrainingResult
from facecls.training.signals import Interrupted
from facecls.training.state import TrainingState, build_state
from facecls.training.trackers import TRACKERS, NullTracker, Tracker, logged
from facecls.training.transfer import load_pretrained


def train(
    config: Config,
    run: Run,
    progress: Reporter,
    *,
    resume: bool,
    callbacks: Sequence[Callback] = (),
    report: Callable[[], Path | None] = lambda: None,
) -> TrainingResult | None:
    """Trains into the run directory; with `resume` from its last.pt. `callbacks` are called on rank 0 after each epoch.

    `report` writes the page of the finished run, for trackers that keep it.

    Returns None on ranks above 0, which write and print nothing. Raises FaceclsError for mistakes of the user, and
    Interrupted, after saving, on a signal.
    """
    config = resolve_config(config)
    with init_distributed() as group:
        reporter: Reporter = progress if group.rank == 0 else SilentProgress()
        # Before the directory is created.
        resuming_run = resume and run.last.exists()
        data = _data_config(config, run, resuming_run)
        dataset = index_dataset(data, config.split, reporter.bar, require_all=resuming_run)
        if not resuming_run:
            check_class_names(config, dataset.classes)
        if run.folder.resolve() == config.data.root.resolve():
            raise RunError(f"{run.folder}: is the directory of the images", hint="name another with --out")
        if group.rank == 0:
            created = run.open()
            with run.lock():
                group.all_gather(run.folder)
                try:
                    return _train(config, dataset, run, reporter, group, callbacks, report, resume=resume)
                except FaceclsError:
                    if created:
                        run.remove_if_empty()
                    raise
        run = Run(group.all_gather(run.folder)[0])
        with contextlib.suppress(Interrupted):  # rank 0 reports it
            _train(config, dataset, run, reporter, group, (), report, resume=resume)
        return None


def _train(
    config: Config,
    dataset: DatasetIndex,
    run: Run,
    progress: Reporter,
    group: ProcessGroup,
    callbacks: Sequence[Callback],
    report: Callable[[], Path | None],
    *,
    resume: bool,
) -> TrainingResult:
    resuming_run = resume and run.last.exists()
    if resuming_run:
        config = resuming.keep_precision(config, resuming.precision_of(run))
    device = _resolve_device(config, group)
    for note in [*resuming.prepare(run, config, resume), *dataset.notes, *filter(None, [device.note])]:
        progress.note(note)
    config = resuming.keep_precision(config, device.precision)
    # Before images are decoded, so that mistakes in the model section are reported at once.
    reporter = SilentProgress() if resuming_run else progress
    state = _new_state(config, dataset.classes, device, group, reporter, pretrained=not resuming_run)
    if group.rank == 0:
        require_space(run, state, config.optimizer)
    tracker: Tracker = TRACKERS[config.train.tracker]() if group.rank == 0 else NullTracker()
    tracker.connect()
    image_lists = {name: dataset.splits[name] for name in ("train", "val")}
    splits = load_splits(image_lists, dataset.classes, config.data, progress.bar, device.torch_device)
    impostors = load_impostors(config.unknown, config.data, progress, device.torch_device) if group.rank == 0 else None
    for split in (*splits, *([impostors] if impostors else [])):
        for note in [*split.notes, *(f"skipped {error}" for error in split.skipped)]:
            progress.note(note)
    data = TrainingData(dataset.classes, *splits)
    if len(data.train) < 2:
        raise DataError("train: one image is not enough to train on", hint="add images, or use a smaller split.val")
    threads = torch.get_num_threads()
    progress.note(
        f"{len(dataset.classes)} classes, {len(data.train):,} training and {plural(len(data.val), 'validation image')}; "
        f"{config.model.name}, {device}, {threads} thread{'' if threads == 1 else 's'}; run directory {run.folder}"
    )
    _check_same_data(group, dataset.classes, splits)  # on all ranks before rank 0 writes
    if resuming_run:
        resuming.load(run, config, state)
        place = f"resuming at epoch {state.epoch + 1}, step {state.step}"
        progress.note("training has ended already; calibrating again" if state.ended else place)
    resuming.check_same_position(run, state, group)
    if group.rank == 0:
        if not resuming_run:
            _write_inputs(run, config, device, dataset, splits)
        run.write_config(config.model_dump(mode="json"))  # some keys may change on resume
        run.truncate_rows(state.epoch)
    loop = Loop(
        config=config,
        data=data,
        device=device,
        run=run,
        writer=_writer(config, run, dataset, progress) if group.rank == 0 else NullWriter(),
        tracker=tracker,
        group=group,
        progress=progress,
        new_state=lambda: _new_state(config, dataset.classes, device, group, SilentProgress()),
        callbacks=callbacks,
    )
    with logged(tracker, run, config, progress.note, resumed=resuming_run):
        result = loop.fit(state)
        if group.rank > 0:
            return result
        best = calibrate_run(run, config, data.train, data.val, impostors, device, progress)
        tracker.finish(best, report)
        return replace(result, best=best)


def _resolve_device(config: Config, group: ProcessGroup) -> Device:
    """The device of this rank; with `precision: auto`, which each rank measures itself, in the precision of rank 0."""
    device = resolve_device(group.device(config.device), config.precision)
    if config.precision != "auto":
        return device
    precision = group.all_gather(device.precision)[0]
    return device if precision == device.precision else resolve_device(group.device(config.device), precision)


def _new_state(
    config: Config,
    classes: tuple[str, ...],
    device: Device,
    group: ProcessGroup,
    progress: Reporter,
    *,
    pretrained: bool = True,
) -> TrainingState:
    """The state before the first step; without `pretrained` weights if others replace them."""

    def prepare(model: FaceClassifier) -> None:
        for note in load_pretrained(model, config.model, classes) if pretrained else ():
            progress.note(note)
        if config.train.sync_batchnorm:
            require_cuda(device)
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # torch's stub

    if group.size > 1 and not config.train.sync_batchnorm:
        progress.note(
            f"{group.size} processes: batch norm uses the {config.train.batch_size} images of each process in a step; "
            "the running statistics of rank 0 are kept"
        )
    state = build_state(config, len(classes), device, prepare)
    state.processes = group.size
    return state


def require_cuda(device: Device) -> None:
    """Raises DeviceError if `train.sync_batchnorm` cannot run on the device."""
    if device.type != "cuda":
        raise DeviceError(
            f"train.sync_batchnorm: needs CUDA devices, this is {device.torch_device}",
            hint="without it batch norm uses the images of each process: use 16 or more per process and step",
        )


def _writer(config: Config, run: Run, dataset: DatasetIndex, progress: Reporter) -> BackgroundWriter:
    template = Checkpoint(
        classes=dataset.classes,
        geometry=geometry_of(config.data),
        model=config.model,
        head=config.head,
        config=config,
        weights={},
        metrics={},
    )
    return BackgroundWriter(run, template, config.train.save_minutes, progress.note)


def _check_same_data(group: ProcessGroup, classes: tuple[str, ...], splits: list[LoadedSplit]) -> None:
    """Raises TrainingError, on all ranks, if a rank has other classes, images or splits than rank 0.

    Each rank lists and splits by itself. If the lists differed, one rank would train on another's validation images, or the
    ranks would make different numbers of steps and wait for each other.
    """
    if group.size == 1:
        return
    images = (
        f"{split.name} {label} {split.image_list.paths.name(index)}"
        for split in splits
        for index, label in enumerate(split.image_list.labels)
    )
    first, *others = group.all_gather(hash_of(chain(classes, images)))
    differing = [str(rank) for rank, other in enumerate(others, 1) if other != first]
    if differing:
        raise TrainingError(
            f"data.root: rank {', '.join(differing)} of {group.size} has other images or splits than rank 0",
            hint="give every machine the same files; if only the splits differ, the same split.csv as data.split_file",
        )


def _write_inputs(run: Run, config: Config, device: Device, dataset: DatasetIndex, splits: list[LoadedSplit]) -> None:
    """Writes environment.json, by which a run directory is recognised, and split.csv."""
    image_lists = {split.name: split.image_list for split in splits}
    if "test" in dataset.splits:
        image_lists["test"] = dataset.splits["test"]
    paths = (path for image_list in image_lists.values() for path in image_list.paths)
    run.write_environment(device=str(device), threads=torch.get_num_threads(), data=hash_of(paths))
    skipped = [pair for split in splits for pair in zip(split.skipped, split.skipped_classes, strict=True)]
    write_split_file(run.split, image_lists, dataset.classes, skipped, config.data.root)


def _data_config(config: Config, run: Run, resuming_run: bool) -> DataConfig:
    """The data section; a resumed run keeps its split, also if the directory has got more images."""
    if resuming_run and run.split.exists():
        return config.data.model_copy(update={"split_file": run.split.absolute()})
    return config.data
