"""A training from config to outcome: opens the run's folder, finds and reads the faces, and lets the loop go."""

from dataclasses import replace

import torch

from facecls.compute import Compute, pick_compute
from facecls.config import Config, settled
from facecls.data.parts import Found, Part, find_parts, load_part
from facecls.data.split import write_manifest
from facecls.errors import DataError, DeviceError
from facecls.faces.geometry import Geometry
from facecls.models.classifier import FaceClassifier
from facecls.progress import Progress, Silence
from facecls.run import Onlooker, Run, hash_of
from facecls.training import resume
from facecls.training.checkpoint import Checkpoint
from facecls.training.fit import Faces, Loop, Outcome
from facecls.training.judging import judge_run, prepare_strangers
from facecls.training.saving import NoSaver, Saver
from facecls.training.state import TrainingState, build_state
from facecls.training.team import Team, assemble
from facecls.training.tracking import NoTracker, TensorBoard
from facecls.training.transfer import load_pretrained


def train(config: Config, run: Run, progress: Progress, *, go_on: bool) -> Outcome | None:
    """Trains as the config says, in the run's folder; with `go_on` from its last.pt.

    Gives None in all processes but the first of a team, which alone writes and speaks. Raises FaceclsError for what the
    user can put right, and Interrupted, after saving, when a signal asks for an end.
    """
    config = settled(config)
    with assemble() as team:
        found = find_parts(config.data, config.split)  # before there is a folder: what is wrong here needs none
        if team.rank == 0:
            run.open()
            with run.lock():
                team.gather(run.folder)
                return _train(config, found, run, progress, team, go_on=go_on)
        first = team.gather(run.folder)[0]
        _train(config, found, Onlooker(first), Silence(), team, go_on=go_on)
        return None


def _train(config: Config, found: Found, run: Run, progress: Progress, team: Team, *, go_on: bool) -> Outcome:
    compute = pick_compute(team.device(config.device), config.precision)
    for note in [*resume.prepare(run, config, go_on), *found.notes]:
        progress.note(note)
    parts = [load_part(name, found.parts[name], found.classes, config.data, progress.bar) for name in ("train", "val")]
    strangers = prepare_strangers(config.unknown, config.data, progress) if team.rank == 0 else None
    for error in (error for part in (*parts, *([strangers] if strangers else [])) for error in part.skipped):
        progress.note(f"skipped {error}")
    faces = Faces(found.classes, *parts)
    if len(faces.train) < 2:
        raise DataError("one picture is too few to train on", hint="add pictures, or hold fewer out with split.val")
    progress.note(
        f"{len(found.classes)} classes, {len(faces.train)} faces to train on, {len(faces.val)} to score by; "
        f"{config.model.name}, {compute}, {torch.get_num_threads()} threads; run folder {run.folder}"
    )
    going_on = go_on and run.last.exists()
    team.agree(0)  # all have looked before the first one writes
    state = _fresh(config, faces, compute, team, Silence() if going_on else progress)
    if going_on:
        resume.load(run, state)
        progress.note(f"going on from epoch {state.epoch + 1}, step {state.step}")
    elif team.rank == 0:
        _describe(run, config, compute, found, parts)
    run.forget_rows_from(state.epoch)
    loop = Loop(
        config=config,
        faces=faces,
        compute=compute,
        run=run,
        saver=_saver(config, run, found) if team.rank == 0 else NoSaver(),
        tracker=TensorBoard(run.folder) if config.train.tensorboard and team.rank == 0 else NoTracker(),
        team=team,
        progress=progress,
        fresh=lambda: _fresh(config, faces, compute, team, Silence()),
    )
    outcome = loop.fit(state)
    if team.rank > 0:
        return outcome
    return replace(outcome, best=judge_run(run, config, faces.train, faces.val, strangers, compute, progress))


def _fresh(config: Config, faces: Faces, compute: Compute, team: Team, progress: Progress) -> TrainingState:
    """The state before the first step."""

    def begin(model: FaceClassifier) -> None:
        for note in load_pretrained(model, config.model, faces.classes):
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
    return build_state(config, len(faces.classes), compute, begin)


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


def _describe(run: Run, config: Config, compute: Compute, found: Found, parts: list[Part]) -> None:
    """Writes what a run starts with: config.yaml, split.csv, environment.json."""
    listings = {part.name: part.listing for part in parts}
    if "test" in found.parts:
        listings["test"] = found.parts["test"]
    run.write_config(config.model_dump(mode="json"))
    pictures = (picture for listing in listings.values() for picture in listing.paths)
    run.write_environment(device=str(compute), threads=torch.get_num_threads(), data=hash_of(pictures))
    skipped = [error for part in parts for error in part.skipped]
    write_manifest(run.split, {name: (each.paths, each.labels) for name, each in listings.items()}, found.classes, skipped)
