"""A training from config to outcome: opens the run's folder, finds and reads the faces, and lets the loop go."""

import contextlib
from dataclasses import replace
from itertools import chain

import torch

from facecls.checkpoint import Checkpoint
from facecls.config.schema import Config, DataConfig, resolve_config
from facecls.data.dataset import DatasetIndex, index_dataset
from facecls.data.load import LoadedSplit, load_split
from facecls.data.split_file import write_split_file
from facecls.device import Device, resolve_device
from facecls.errors import DataError, DeviceError, FaceclsError, RunError, TrainingError
from facecls.faces.geometry import Geometry
from facecls.models.classifier import FaceClassifier
from facecls.progress import Progress, SilentProgress
from facecls.run import ReadOnlyRun, Run, hash_of
from facecls.training import resume as resuming_from
from facecls.training.calibrate import calibrate_run, load_impostors, refuse_a_class_unknown
from facecls.training.checkpointing import CheckpointWriter, NoCheckpointWriter
from facecls.training.distributed import SingleProcess, init_distributed
from facecls.training.loop import Loop, TrainingData, TrainingResult
from facecls.training.signals import Interrupted
from facecls.training.state import TrainingState, build_state
from facecls.training.tensorboard import NoTracker, TensorBoard
from facecls.training.transfer import load_pretrained


def train(config: Config, run: Run, progress: Progress, *, resume: bool) -> TrainingResult | None:
    """Trains as the config says, in the run's folder; with `go_on` from its last.pt.

    Gives None in all processes but the first of a team, which alone writes and speaks. Raises FaceclsError for what the
    user can put right, and Interrupted, after saving, when a signal asks for an end.
    """
    config = resolve_config(config)
    with init_distributed() as group:
        bar = progress.bar if group.rank == 0 else SilentProgress().bar
        # Before there is a folder: what is wrong here needs none.
        resuming = resume and run.last.exists()
        dataset = index_dataset(_data(config, run, resuming), config.split, bar, require_all=resuming)
        if not resuming:
            refuse_a_class_unknown(config, dataset.classes)
        if run.folder.resolve() == config.data.root.resolve():
            raise RunError(f"{run.folder}: is the folder of the images", hint="name another with --out")
        if group.rank == 0:
            made = run.open()
            with run.lock():
                group.gather(run.folder)
                try:
                    return _train(config, dataset, run, progress, group, resume=resume)
                except FaceclsError:
                    if made:
                        run.leave_if_empty()  # every try would leave another one behind
                    raise
        first = group.gather(run.folder)[0]
        with contextlib.suppress(Interrupted):  # which the first process tells
            _train(config, dataset, ReadOnlyRun(first), SilentProgress(), group, resume=resume)
        return None


def _train(
    config: Config, dataset: DatasetIndex, run: Run, progress: Progress, group: SingleProcess, *, resume: bool
) -> TrainingResult:
    device = resolve_device(group.device(config.device), config.precision)
    for note in [*resuming_from.prepare(run, config, resume), *dataset.notes]:
        progress.note(note)
    resuming = resume and run.last.exists()
    # Before the faces are read: what is wrong with the model is told at once.
    state = _new_state(
        config, dataset.classes, device, group, SilentProgress() if resuming else progress, pretrained=not resuming
    )
    tracker = TensorBoard(run.folder) if config.train.tensorboard and group.rank == 0 else NoTracker()
    splits = [
        load_split(name, image_list, dataset.classes, config.data, progress.bar, device.torch_device)
        for name, image_list in dataset.splits.items()
        if name in ("train", "val")
    ]
    impostors = load_impostors(config.unknown, config.data, progress, device.torch_device) if group.rank == 0 else None
    for split in (*splits, *([impostors] if impostors else [])):
        for note in [*split.notes, *(f"skipped {error}" for error in split.skipped)]:
            progress.note(note)
    faces = TrainingData(dataset.classes, *splits)
    if len(faces.train) < 2:
        raise DataError("one image is too few to train on", hint="add images, or hold fewer out with split.val")
    threads = torch.get_num_threads()
    progress.note(
        f"{len(dataset.classes)} classes, {len(faces.train)} faces to train on, {len(faces.val)} to score by; "
        f"{config.model.name}, {device}, {threads} thread{'' if threads == 1 else 's'}; run folder {run.folder}"
    )
    _refuse_other_images(group, dataset.classes, splits)  # and all have looked before the first one writes
    if resuming:
        resuming_from.load(run, config, state)
        where = f"going on from epoch {state.epoch + 1}, step {state.step}"
        progress.note("training has ended already; what it has learned is judged anew" if state.ended else where)
    if group.rank == 0:
        if not resuming:
            _describe(run, config, device, dataset, splits)
        run.write_config(config.model_dump(mode="json"))  # also of a run that goes on: some of it may have changed
    run.forget_rows_from(state.epoch)
    loop = Loop(
        config=config,
        data=faces,
        device=device,
        run=run,
        writer=_checkpoint_writer(config, run, dataset) if group.rank == 0 else NoCheckpointWriter(),
        tracker=tracker,
        group=group,
        progress=progress,
        new_state=lambda: _new_state(config, dataset.classes, device, group, SilentProgress()),
    )
    result = loop.fit(state)
    if group.rank > 0:
        return result
    return replace(result, best=calibrate_run(run, config, faces.train, faces.val, impostors, device, progress))


def _new_state(
    config: Config,
    classes: tuple[str, ...],
    device: Device,
    group: SingleProcess,
    progress: Progress,
    *,
    pretrained: bool = True,
) -> TrainingState:
    """The state before the first step; without its `pretrained` weights where others will take their place."""

    def begin(model: FaceClassifier) -> None:
        for note in load_pretrained(model, config.model, classes) if pretrained else ():
            progress.note(note)
        if config.train.sync_batchnorm:
            if device.type != "cuda":
                raise DeviceError(
                    f"train.sync_batchnorm: needs CUDA devices, this is {device.torch_device}",
                    hint="without it, batch norm goes by each process's own faces: give each 16 or more in a step",
                )
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # torch's stub

    if group.size > 1 and not config.train.sync_batchnorm:
        progress.note(
            f"{group.size} processes: batch norm goes by the {config.train.batch_size} faces of each process in a step; "
            "the first one's running statistics are kept"
        )
    state = build_state(config, len(classes), device, begin)
    state.processes = group.size
    return state


def _checkpoint_writer(config: Config, run: Run, dataset: DatasetIndex) -> CheckpointWriter:
    template = Checkpoint(
        classes=dataset.classes,
        geometry=Geometry(config.data.image_size, config.data.crop, config.data.fit),
        model=config.model,
        head=config.head,
        config=config,
        weights={},
        metrics={},
    )
    return CheckpointWriter(run, template, config.train.save_minutes)


def _refuse_other_images(group: SingleProcess, classes: tuple[str, ...], splits: list[LoadedSplit]) -> None:
    """Raises TrainingError, in all processes, where one has other classes, images or splits than the first.

    Each lists and splits by itself: where they differ, one's train holds another's val, or they part over the number of
    steps and wait for ever.
    """
    if group.size == 1:
        return
    images = (
        f"{split.name} {label} {split.image_list.paths.name(index)}"
        for split in splits
        for index, label in enumerate(split.image_list.labels)
    )
    first, *others = group.gather(hash_of(chain(classes, images)))
    differing = [str(rank) for rank, other in enumerate(others, 1) if other != first]
    if differing:
        raise TrainingError(
            f"data.root: of {group.size} processes, number {', '.join(differing)} found other images or splits than number 0",
            hint="give every machine the same files; where only the splits differ, the same split.csv as data.split_file",
        )


def _describe(run: Run, config: Config, device: Device, dataset: DatasetIndex, splits: list[LoadedSplit]) -> None:
    """Writes what a run starts with beside its config: environment.json, by which a run's folder is known, and split.csv."""
    listings = {split.name: split.image_list for split in splits}
    if "test" in dataset.splits:
        listings["test"] = dataset.splits["test"]
    images = (image for image_list in listings.values() for image in image_list.paths)
    run.write_environment(device=str(device), threads=torch.get_num_threads(), data=hash_of(images))
    skipped = [pair for split in splits for pair in zip(split.skipped, split.skipped_classes, strict=True)]
    write_split_file(run.split, listings, dataset.classes, skipped, config.data.root)


def _data(config: Config, run: Run, resuming: bool) -> DataConfig:
    """The config's data; a run that goes on keeps the split that it began with, whatever the folder has got since."""
    if resuming and run.split.exists():
        return config.data.model_copy(update={"split_file": run.split.absolute()})
    return config.data
