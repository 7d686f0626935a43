"""A checkpoint against the data it was trained on, or against a folder of other images, and against strangers."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facecls.checkpoint import Checkpoint
from facecls.config.schema import DataConfig
from facecls.data.dataset import index_dataset, map_to_classes
from facecls.data.listing import ImageList, split_folders
from facecls.data.load import LoadedSplit, load_split, load_unlabelled
from facecls.device import Device
from facecls.errors import DataError, ImageError
from facecls.evaluation.infer import flip_allowed, infer
from facecls.evaluation.result import ClosedSetResult, OpenSetResult, closed_set_result, open_set_result
from facecls.evaluation.subgroups import SubgroupResult, read_subgroups, subgroup_metrics
from facecls.open_set.outputs import Outputs
from facecls.open_set.thresholds import Threshold
from facecls.progress import Progress


@dataclass(frozen=True)
class Evaluation:
    """An evaluation: its figures, what they rest on, and the images that could not be read and so do not count."""

    closed_set: ClosedSetResult
    open_set: OpenSetResult
    groups: SubgroupResult | None
    split: LoadedSplit
    outputs: Outputs
    impostors: LoadedSplit | None
    skipped: tuple[ImageError, ...]
    seconds: float  # reading and computing the part
    impostors_set_threshold: bool = False  # the rate at which they are let in then says nothing of others

    @property
    def images_per_second(self) -> float:
        return len(self.split) / self.seconds

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return self.closed_set.to_plain() | {
            "unknown": self.open_set.to_plain(),
            "groups": self.groups and self.groups.to_plain(),
            "seconds": self.seconds,
            "images_per_second": self.images_per_second,
            "skipped": [{"path": error.path, "error": error.reason} for error in self.skipped],
        }


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    device: Device,
    progress: Progress,
    *,
    data: Path | None = None,
    split_file: Path | None = None,
    split: str = "val",
    impostors: Path | None = None,
    groups: Path | None = None,
    mirrored: bool = False,
) -> Evaluation:
    """Scores the part `split` of the run's own data, or of the folder `data` (all of it where it has no parts).

    `split_file` is the run's split.csv, where it is there: without it the run's own data is split anew as it was then.
    `strangers` is a folder of images of none of the classes, `groups` a CSV file as `groups_of` takes it; `mirrored` takes
    the mean of every image and its mirror image, which is left off where labels are handed.
    Raises DataError for a part that is not there, for classes that training did not have, and for groups that fit nothing.
    """
    config = checkpoint.config
    # As predict reads them: a run that ended while its images were growing has left smaller ones than its config names.
    size = checkpoint.geometry.image_size
    settings = config.data.model_copy(update={"on_bad_image": "skip", "image_size": size})
    mirrored = flip_allowed(mirrored, settings, progress)
    own = settings.model_copy(update={"split_file": split_file or settings.split_file})
    image_list = _own(checkpoint, own, split) if data is None else _foreign(checkpoint, data, split, progress)
    begun = time.perf_counter()
    loaded = load_split(split, image_list, checkpoint.classes, settings, progress.bar, device.torch_device)
    model = checkpoint.build(device)
    outputs = infer(model, loaded, device, mirrored=mirrored)
    seconds = time.perf_counter() - begun
    labels, calibration = loaded.image_list.labels, checkpoint.calibration_for(mirrored=mirrored)
    others = None if impostors is None else load_unlabelled("strangers", impostors, settings, progress.bar, device.torch_device)
    own_impostors = impostors is not None and _set_by(calibration.threshold, impostors, config.unknown.strangers)
    if own_impostors:
        progress.note(f"{impostors}: the threshold was set by these very strangers, so what it does to others is not seen here")
    return Evaluation(
        closed_set=closed_set_result(outputs.logits, calibration.probabilities(outputs.logits), labels, checkpoint.classes),
        open_set=open_set_result(
            calibration,
            outputs,
            labels,
            None if others is None else infer(model, others, device, mirrored=mirrored),
            others=not own_impostors,
        ),
        groups=None if groups is None else _by_group(groups, loaded, outputs, checkpoint.classes, progress),
        split=loaded,
        outputs=outputs,
        impostors=others,
        skipped=(*loaded.skipped, *(others.skipped if others else ())),
        seconds=seconds,
        impostors_set_threshold=own_impostors,
    )


def _set_by(threshold: Threshold | None, impostors: Path, named: Path | None) -> bool:
    """Whether a threshold was set by the strangers of this very folder."""
    by_impostors = threshold is not None and threshold.source == "strangers"
    return by_impostors and named is not None and impostors.resolve() == named.resolve()


def _by_group(
    file: Path, loaded: LoadedSplit, outputs: Outputs, classes: tuple[str, ...], progress: Progress
) -> SubgroupResult:
    names = read_subgroups(file, loaded.image_list, classes)
    members = [number for number, name in enumerate(names) if name is not None]
    if len(members) < len(names):
        progress.note(f"{file}: names no group for {len(names) - len(members)} of {len(names)} images")
    predicted = outputs.logits.argmax(axis=1)
    return subgroup_metrics(loaded.image_list.labels[members], predicted[members], [name for name in names if name is not None])


def _own(checkpoint: Checkpoint, settings: DataConfig, split: str) -> ImageList:
    found = index_dataset(settings, checkpoint.config.split)
    if found.classes != checkpoint.classes:
        raise DataError(
            f"{settings.root}: its classes are no longer those of training", hint="name the images to score with --data DIR"
        )
    if split not in found.splits:
        raise DataError(f"the run has no {split} part", hint=f"its parts are {', '.join(found.splits)}")
    return found.splits[split]


def _foreign(checkpoint: Checkpoint, data: Path, split: str, progress: Progress) -> ImageList:
    splits = split_folders(data)
    if splits and split not in splits:
        raise DataError(f"{data}: has no {split} part", hint=f"its parts are {', '.join(splits)}: choose one with --split")
    image_list, notes = map_to_classes(splits.get(split, data), checkpoint.classes)
    for note in notes:
        progress.note(note)
    return image_list
