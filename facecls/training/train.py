"""A training from config to outcome: opens the run's folder, finds and reads the faces, and lets the loop go."""

import contextlib
from dataclasses import replace
from itertools import chain

import torch

from facecls.checkpoint import Checkpoint
from facecls.config.schema import Config, DataConfig, settled
from facecls.data.dataset import Found, find_parts
from facecls.data.load import Part, load_part
from facecls.data.split_file import write_manifest
from facecls.device import Compute, pick_compute
from facecls.errors import DataError, DeviceError, FaceclsError, RunError, TrainingError
from facecls.faces.geometry import Geometry
from facecls.models.classifier import FaceClassifier
from facecls.progress import Progress, Silence
from facecls.run import Onlooker, Run, hash_of
from facecls.training import resume
from facecls.training.calibrate import judge_run, prepare_strangers, refuse_a_class_unknown
from facecls.training.checkpointing import NoSaver, Saver
from facecls.training.distributed import Team, assemble
from facecls.training.loop import Faces, Loop, Outcome
from facecls.training.signals import Interrupted
from facecls.training.state import TrainingState, build_state
from facecls.training.tensorboard import NoTracker, TensorBoard
from facecls.training.transfer import load_pretrained


def train(config: Config, run: Run, progress: Progress, *, go_on: bool) -> Outcome | None:
    """Trains as the config says, in the run's folder; with `go_on` from its last.pt.

    Gives None in all processes but the first of a team, which alone writes and speaks. Raises FaceclsError for what the
    user can put right, and Interrupted, after saving, when a signal asks for an end.
    """
    config = settled(config)
    with assemble() as team:
        bar = progress.bar if team.rank == 0 else Silence().bar
        # Before there is a folder: what is wrong here needs none.
        going_on = go_on and run.last.exists()
        found = find_parts(_data(config, run, going_on), config.split, bar, whole=going_on)
        if not going_on:
            refuse_a_class_unknown(config, found.classes)
        if run.folder.resolve() == config.data.root.resolve():
            raise RunError(f"{run.folder}: is the folder of the pictures", hint="name another with --out")
        if team.rank == 0:
            made = run.open()
            with run.lock():
                team.gather(run.folder)
                try:
                    return _train(config, found, run, progress, team, go_on=go_on)
                except FaceclsError:
                    if made:
                        run.leave_if_empty()  # every try would leave another one behind
                    raise
        first = team.gather(run.folder)[0]
        with contextlib.suppress(Interrupted):  # which the first process tells
            _train(config, found, Onlooker(first), Silence(), team, go_on=go_on)
        return None


def _train(config: Config, found: Found, run: Run, progress: Progress, team: Team, *, go_on: bool) -> Outcome:
    compute = pick_compute(team.device(config.device), config.precision)
    for note in [*resume.prepare(run, config, go_on), *found.notes]:
        progress.note(note)
    going_on = go_on and run.last.exists()
    # Before the faces are read: what is wrong with the model is told at once.
    state = _fresh(config, found.classes, compute, team, Silence() if going_on else progress, pretrained=not going_on)
    tracker = TensorBoard(run.folder) if config.train.tensorboard and team.rank == 0 else NoTracker()
    parts = [
        load_part(name, listing, found.classes, config.data, progress.bar, compute.device)
        for name, listing in found.parts.items()
        if name in ("train", "val")
    ]
    strangers = prepare_strangers(config.unknown, config.data, progress, compute.device) if team.rank == 0 else None
    for part in (*parts, *([strangers] if strangers else [])):
        for note in [*part.notes, *(f"skipped {error}" for error in part.skipped)]:
            progress.note(note)
    faces = Faces(found.classes, *parts)
    if len(faces.train) < 2:
        raise DataError("one picture is too few to train on", hint="add pictures, or hold fewer out with split.val")
    threads = torch.get_num_threads()
    progress.note(
        f"{len(found.classes)} classes, {len(faces.train)} faces to train on, {len(faces.val)} to score by; "
        f"{config.model.name}, {compute}, {threads} thread{'' if threads == 1 else 's'}; run folder {run.folder}"
    )
    _refuse_other_pictures(team, found.classes, parts)  # and all have looked before the first one writes
    if going_on:
        resume.load(run, config, state)
        where = f"going on from epoch {state.epoch + 1}, step {state.step}"
        progress.note("training has ended already; what it has learned is judged anew" if state.ended else where)
    if team.rank == 0:
        if not going_on:
            _describe(run, config, compute, found, parts)
        run.write_config(config.model_dump(mode="json"))  # also of a run that goes on: some of it may have changed
    run.forget_rows_from(state.epoch)
    loop = Loop(
        config=config,
        faces=faces,
        compute=compute,
        run=run,
        saver=_saver(config, run, found) if team.rank == 0 else NoSaver(),
        tracker=tracker,
        team=team,
        progress=progress,
        fresh=lambda: _fresh(config, found.classes, compute, team, Silence()),
    )
    outcome = loop.fit(state)
    if team.rank > 0:
        return outcome
    return replace(outcome, best=judge_run(run, config, faces.train, faces.val, strangers, compute, progress))


def _fresh(
    config: Config, classes: tuple[str, ...], compute: Compute, team: Team, progress: Progress, *, pretrained: bool = True
) -> TrainingState:
    """The state before the first step; without its `pretrained` weights where others will take their place."""

    def begin(model: FaceClassifier) -> None:
        for note in load_pretrained(model, config.model, classes) if pretrained else ():
            progress.note(note)
        if config.train.sync_batchnorm:
            if compute.device.type != "cuda":
                raise DeviceError(
                    f"train.sync_batchnorm: needs CUDA devices, this is {compute.device}",
                    hint="without it, batch norm goes by each process's own faces: give each 16 or more in a step",
                )
            torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # torch's stub

    if team.size > 1 and not config.train.sync_batchnorm:
        progress.note(
            f"{team.size} processes: batch norm goes by the {config.train.batch_size} faces of each process in a step; "
            "the first one's running statistics are kept"
        )
    state = build_state(config, len(classes), compute, begin)
    state.processes = team.size
    return state


def _saver(config: Config, run: Run, found: Found) -> Saver:
    template = Checkpoint(
        classes=found.classes,
        geometry=Geometry(config.data.image_size, config.data.crop, config.data.fit),
        model=config.model,
        head=config.head,
        config=config,
        weights={},
        metrics={},
    )
    return Saver(run, template, config.train.save_minutes)


def _refuse_other_pictures(team: Team, classes: tuple[str, ...], parts: list[Part]) -> None:
    """Raises TrainingError, in all processes, where one has other classes, pictures or splits than the first.

    Each lists and splits by itself: where they differ, one's train holds another's val, or they part over the number of
    steps and wait for ever.
    """
    if team.size == 1:
        return
    pictures = (
        f"{part.name} {label} {part.listing.paths.name(index)}"
        for part in parts
        for index, label in enumerate(part.listing.labels)
    )
    first, *others = team.gather(hash_of(chain(classes, pictures)))
    differing = [str(rank) for rank, other in enumerate(others, 1) if other != first]
    if differing:
        raise TrainingError(
            f"data.root: of {team.size} processes, number {', '.join(differing)} found other pictures or splits than number 0",
            hint="give every machine the same files; where only the splits differ, the same split.csv as data.split_file",
        )


def _describe(run: Run, config: Config, compute: Compute, found: Found, parts: list[Part]) -> None:
    """Writes what a run starts with beside its config: environment.json, by which a run's folder is known, and split.csv."""
    listings = {part.name: part.listing for part in parts}
    if "test" in found.parts:
        listings["test"] = found.parts["test"]
    pictures = (picture for listing in listings.values() for picture in listing.paths)
    run.write_environment(device=str(compute), threads=torch.get_num_threads(), data=hash_of(pictures))
    skipped = [pair for part in parts for pair in zip(part.skipped, part.skipped_classes, strict=True)]
    split = {name: (each.paths, each.labels) for name, each in listings.items()}
    write_manifest(run.split, split, found.classes, skipped, config.data.root)


def _data(config: Config, run: Run, going_on: bool) -> DataConfig:
    """The config's data; a run that goes on keeps the split that it began with, whatever the folder has got since."""
    if going_on and run.split.exists():
        return config.data.model_copy(update={"split_file": run.split.absolute()})
    return config.data
