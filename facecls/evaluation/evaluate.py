"""A checkpoint against the data it was trained on, or against a folder of other pictures, and against strangers."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facecls.checkpoint import Checkpoint
from facecls.config.schema import DataConfig
from facecls.data.dataset import Listing, find_parts, onto_classes
from facecls.data.listing import part_folders
from facecls.data.load import Part, load_part, loose_part
from facecls.device import Compute
from facecls.errors import DataError, ImageError
from facecls.evaluation.infer import infer, mirror_allowed
from facecls.evaluation.result import Assessment, OpenSet, assess, assess_unknown
from facecls.evaluation.subgroups import GroupScores, by_group, groups_of
from facecls.open_set.outputs import Outputs
from facecls.open_set.thresholds import Threshold
from facecls.progress import Progress


@dataclass(frozen=True)
class Scored:
    """An evaluation: its figures, what they rest on, and the pictures that could not be read and so do not count."""

    assessment: Assessment
    open_set: OpenSet
    groups: GroupScores | None
    part: Part
    outputs: Outputs
    strangers: Part | None
    skipped: tuple[ImageError, ...]
    seconds: float  # reading and computing the part
    strangers_set_threshold: bool = False  # the rate at which they are let in then says nothing of others

    @property
    def images_per_second(self) -> float:
        return len(self.part) / self.seconds

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return self.assessment.to_plain() | {
            "unknown": self.open_set.to_plain(),
            "groups": self.groups and self.groups.to_plain(),
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
            "skipped": [{"path": error.path, "error": error.reason} for error in self.skipped],
        }


def score_checkpoint(
    checkpoint: Checkpoint,
    compute: Compute,
    progress: Progress,
    *,
    data: Path | None = None,
    split_file: Path | None = None,
    split: str = "val",
    strangers: Path | None = None,
    groups: Path | None = None,
    mirrored: bool = False,
) -> Scored:
    """Scores the part `split` of the run's own data, or of the folder `data` (all of it where it has no parts).

    `split_file` is the run's split.csv, where it is there: without it the run's own data is split anew as it was then.
    `strangers` is a folder of pictures of none of the classes, `groups` a CSV file as `groups_of` takes it; `mirrored` takes
    the mean of every picture and its mirror image, which is left off where labels are handed.
    Raises DataError for a part that is not there, for classes that training did not have, and for groups that fit nothing.
    """
    config = checkpoint.config
    # As predict reads them: a run that ended while its pictures were growing has left smaller ones than its config names.
    size = checkpoint.geometry.image_size
    settings = config.data.model_copy(update={"on_bad_image": "skip", "image_size": size})
    mirrored = mirror_allowed(mirrored, settings, progress)
    own = settings.model_copy(update={"split_file": split_file or settings.split_file})
    listing = _own(checkpoint, own, split) if data is None else _foreign(checkpoint, data, split, progress)
    begun = time.perf_counter()
    part = load_part(split, listing, checkpoint.classes, settings, progress.bar, compute.device)
    model = checkpoint.build(compute)
    outputs = infer(model, part, compute, mirrored=mirrored)
    seconds = time.perf_counter() - begun
    labels, judgement = part.listing.labels, checkpoint.judged(mirrored=mirrored)
    others = None if strangers is None else loose_part("strangers", strangers, settings, progress.bar, compute.device)
    own_strangers = strangers is not None and _set_by(judgement.threshold, strangers, config.unknown.strangers)
    if own_strangers:
        progress.note(f"{strangers}: the threshold was set by these very strangers, so what it does to others is not seen here")
    return Scored(
        assessment=assess(outputs.logits, judgement.probabilities(outputs.logits), labels, checkpoint.classes),
        open_set=assess_unknown(
            judgement,
            outputs,
            labels,
            None if others is None else infer(model, others, compute, mirrored=mirrored),
            others=not own_strangers,
        ),
        groups=None if groups is None else _by_group(groups, part, outputs, checkpoint.classes, progress),
        part=part,
        outputs=outputs,
        strangers=others,
        skipped=(*part.skipped, *(others.skipped if others else ())),
        seconds=seconds,
        strangers_set_threshold=own_strangers,
    )


def _set_by(threshold: Threshold | None, strangers: Path, named: Path | None) -> bool:
    """Whether a threshold was set by the strangers of this very folder."""
    by_strangers = threshold is not None and threshold.source == "strangers"
    return by_strangers and named is not None and strangers.resolve() == named.resolve()


def _by_group(file: Path, part: Part, outputs: Outputs, classes: tuple[str, ...], progress: Progress) -> GroupScores:
    names = groups_of(file, part.listing, classes)
    members = [number for number, name in enumerate(names) if name is not None]
    if len(members) < len(names):
        progress.note(f"{file}: names no group for {len(names) - len(members)} of {len(names)} pictures")
    predicted = outputs.logits.argmax(axis=1)
    return by_group(part.listing.labels[members], predicted[members], [name for name in names if name is not None])


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
