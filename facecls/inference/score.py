"""A checkpoint against the data it was trained on, or against a folder of other pictures."""

from dataclasses import dataclass
from pathlib import Path

from facecls.compute import Compute
from facecls.config import DataConfig
from facecls.data.folder import part_folders
from facecls.data.parts import Listing, find_parts, load_part, onto_classes
from facecls.errors import DataError, ImageError
from facecls.evaluation.evaluate import evaluate
from facecls.evaluation.metrics import Scores
from facecls.progress import Progress
from facecls.training.checkpoint import Checkpoint


@dataclass(frozen=True)
class Scored:
    """An evaluation: its figures, and the pictures that could not be read and so do not count."""

    scores: Scores
    skipped: tuple[ImageError, ...]


def score_checkpoint(
    checkpoint: Checkpoint, compute: Compute, progress: Progress, *, data: Path | None = None, split: str = "val"
) -> Scored:
    """Scores the part `split` of the run's own data, or of the folder `data` (all of it where it has no parts).

    Raises DataError for a part that is not there and for classes that training did not have.
    """
    config = checkpoint.config
    settings = config.data.model_copy(update={"on_bad_image": "skip"})
    listing = _own(checkpoint, settings, split) if data is None else _foreign(checkpoint, data, split, progress)
    part = load_part(split, listing, checkpoint.classes, settings, progress.bar)
    return Scored(evaluate(checkpoint.build(compute), part, checkpoint.classes, compute), part.skipped)


def _own(checkpoint: Checkpoint, settings: DataConfig, split: str) -> Listing:
    found = find_parts(settings, checkpoint.config.split)
    if found.classes != checkpoint.classes:
        raise DataError(
            f"{settings.root}: its classes are no longer those of training", hint="name the pictures to score with --data DIR"
        )
    if split not in found.parts:
        raise DataError(f"the run has no {split} part", hint=f"its parts are {', '.join(found.parts)}")
    return found.parts[split]


def _foreign(checkpoint: Checkpoint, data: Path, split: str, progress: Progress) -> Listing:
    parts = part_folders(data)
    if parts and split not in parts:
        raise DataError(f"{data}: has no {split} part", hint=f"its parts are {', '.join(parts)}: choose one with --split")
    listing, notes = onto_classes(parts.get(split, data), checkpoint.classes)
    for note in notes:
        progress.note(note)
    return listing
