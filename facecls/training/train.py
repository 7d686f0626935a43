"""A training from config to outcome: opens the run's folder, finds and reads the faces, and lets the loop go."""

import torch

from facecls.compute import pick_compute
from facecls.config import Config
from facecls.data.parts import Part, find_parts, load_part
from facecls.data.split import write_manifest
from facecls.errors import DataError
from facecls.faces.geometry import Geometry
from facecls.progress import Progress
from facecls.run import Run, hash_of
from facecls.training import resume
from facecls.training.checkpoint import Checkpoint
from facecls.training.fit import Faces, Loop, Outcome
from facecls.training.saving import Saver
from facecls.training.state import build_state


def train(config: Config, run: Run, progress: Progress, *, go_on: bool) -> Outcome:
    """Trains as the config says, in the run's folder; with `go_on` from its last.pt.

    Raises FaceclsError for what the user can put right, and Interrupted, after saving, when a signal asks for an end.
    """
    config = config.model_copy(update={"data": config.data.model_copy(update={"root": config.data.root.absolute()})})
    compute = pick_compute(config.device, config.precision)
    found = find_parts(config.data, config.split)
    run.open()
    with run.lock():
        for note in [*resume.prepare(run, config, go_on), *found.notes]:
            progress.note(note)
        train_part, val_part = (
            load_part(name, found.parts[name], found.classes, config.data, progress.bar) for name in ("train", "val")
        )
        _enough(train_part)
        for part in (train_part, val_part):
            for error in part.skipped:
                progress.note(f"skipped {error}")
        state = build_state(config, len(found.classes), compute)
        progress.note(
            f"{len(found.classes)} classes, {len(train_part)} faces to train on, {len(val_part)} to score by; "
            f"{config.model.name}, {compute}, {torch.get_num_threads()} threads; run folder {run.folder}"
        )
        if go_on and run.last.exists():
            resume.load(run, state)
            progress.note(f"going on from epoch {state.epoch + 1}, step {state.step}")
        else:
            listings = {part.name: part.listing for part in (train_part, val_part)} | {
                name: listing for name, listing in found.parts.items() if name == "test"
            }
            run.write_config(config.model_dump(mode="json"))
            run.write_environment(
                device=str(compute),
                threads=torch.get_num_threads(),
                data=hash_of(line for each in listings.values() for line in each.paths),
            )
            skipped = [*train_part.skipped, *val_part.skipped]
            write_manifest(
                run.split, {name: (each.paths, each.labels) for name, each in listings.items()}, found.classes, skipped
            )
        run.forget_rows_from(state.epoch)
        template = Checkpoint(
            classes=found.classes,
            geometry=Geometry(config.data.image_size, config.data.crop, config.data.fit),
            model=config.model,
            head=config.head,
            config=config,
            weights={},
            metrics={},
        )
        saver = Saver(run, template, config.train.save_minutes)
        return Loop(config, Faces(found.classes, train_part, val_part), compute, run, saver, progress).fit(state)


def _enough(part: Part) -> None:
    if len(part) < 2:
        raise DataError("one picture is too few to train on", hint="add pictures, or hold fewer out with split.val")
