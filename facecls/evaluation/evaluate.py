"""Evaluates a checkpoint on its own split or on another data set, and on impostors."""

import os
import time
from collections.abc import Collection, Container
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facecls.checkpoint import Checkpoint
from facecls.config.schema import DataConfig
from facecls.data.dataset import index_dataset, map_label_file, map_to_classes
from facecls.data.listing import ImageList, split_folders
from facecls.data.load import LoadedSplit, load_split, load_unlabelled
from facecls.data.split_file import read_split_file
from facecls.device import Device
from facecls.errors import DataError, ImageError
from facecls.evaluation.infer import flip_allowed, infer
from facecls.evaluation.result import ClosedSetResult, OpenSetResult, closed_set_result, open_set_result
from facecls.evaluation.subgroups import SubgroupResult, read_subgroups, subgroup_metrics
from facecls.open_set.calibration import Calibration, warnings_about
from facecls.open_set.outputs import Outputs
from facecls.progress import Reporter
from facecls.text import name_list, plural


@dataclass(frozen=True, repr=False)
class Evaluation:
    """Results of an evaluation, with the images and outputs they are computed from."""

    closed_set: ClosedSetResult
    open_set: OpenSetResult
    subgroups: SubgroupResult | None
    split: LoadedSplit
    outputs: Outputs
    impostors: LoadedSplit | None
    skipped: tuple[ImageError, ...]  # unreadable images, which do not count
    seconds: float  # for reading the split and inference
    impostors_set_threshold: bool = False  # if so, the false accept rate is not an estimate for other impostors
    warnings: tuple[str, ...] = ()  # about the calibration and the rejection threshold
    fitted: str | None = None  # what was selected or fitted on these images, so that their figures are optimistic

    def __repr__(self) -> str:
        metrics, mark = self.closed_set.metrics, "" if self.fitted is None else ", optimistic: " + self.fitted
        return f"<Evaluation of {plural(metrics.n, 'image')} ({self.split.name}): accuracy {metrics.accuracy:.1%}{mark}>"

    @property
    def images_per_second(self) -> float:
        return len(self.split) / self.seconds

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return (
            {"split": self.split.name, "fitted_on_these": self.fitted is not None}
            | self.closed_set.to_plain()
            | {
                "open_set": self.open_set.to_plain() | {"fitted_on_these": self.impostors_set_threshold},
                "subgroups": self.subgroups and self.subgroups.to_plain(),
                "warnings": list(self.warnings),
                "seconds": self.seconds,
                "images_per_second": self.images_per_second,
                "skipped": [{"path": error.path, "error": error.reason} for error in self.skipped],
            }
        )


def evaluate_checkpoint(
    checkpoint: Checkpoint,
    device: Device,
    progress: Reporter,
    *,
    data: Path | None = None,
    split_file: Path | None = None,
    split: str | None = None,
    impostors: Path | None = None,
    subgroups: Path | None = None,
    mirrored: bool = False,
) -> Evaluation:
    """Evaluates on the split `split` of the run's own data, or of the folder or label file `data` (all of it without splits).

    Without `split` that is test if there is one, else val.
    `split_file` is the run's split.csv; without it the run's own data is split again by the config. `impostors` is a
    folder of images of unknown people, `subgroups` a CSV file for `read_subgroups`. `mirrored` averages over each image
    and its mirror image, unless a flip changes the class. Raises DataError if the split is missing, if `data` has a class
    that training did not have, or if `subgroups` does not fit the images.
    """
    # As in predict. A run that stopped during progressive resizing has a smaller size than its config.
    size = checkpoint.geometry.image_size
    skipping = {"on_bad_image": "skip", "on_no_face": "whole" if checkpoint.config.data.on_no_face == "whole" else "skip"}
    settings = checkpoint.config.data.model_copy(update=skipping | {"image_size": size})
    mirrored = flip_allowed(mirrored, settings, progress)
    if data is None:
        own = settings.model_copy(update={"split_file": split_file or settings.split_file})
        name, image_list = _run_split(checkpoint, own, split)
    else:
        name, image_list = _external_split(checkpoint, data, split, progress)
    begun = time.perf_counter()
    loaded = load_split(name, image_list, checkpoint.classes, settings, progress.bar, device.torch_device)
    model = checkpoint.build(device)
    outputs = infer(model, loaded, device, mirrored=mirrored)
    seconds = time.perf_counter() - begun
    labels, calibration = loaded.image_list.labels, checkpoint.calibration_for(mirrored=mirrored)
    unknown, unknown_outputs, set_threshold = None, None, False
    if impostors is not None:
        unknown = load_unlabelled("impostors", impostors, settings, progress.bar, device.torch_device)
        unknown_outputs = infer(model, unknown, device, mirrored=mirrored)
        threshold, configured = calibration.threshold, checkpoint.config.unknown.strangers
        if threshold is not None and threshold.source == "impostors" and configured is not None:
            set_threshold = impostors.resolve() == configured.resolve()
    if set_threshold:
        progress.note(f"{impostors}: the threshold was set on these images, so FAR is at its target by construction")
    open_set = open_set_result(calibration, outputs, labels, unknown_outputs, held_out=not set_threshold)
    return Evaluation(
        closed_set=closed_set_result(outputs.logits, calibration.probabilities(outputs.logits), labels, checkpoint.classes),
        open_set=open_set,
        subgroups=None if subgroups is None else _by_subgroup(subgroups, loaded, outputs, checkpoint.classes, progress),
        split=loaded,
        outputs=outputs,
        impostors=unknown,
        skipped=(*loaded.skipped, *(unknown.skipped if unknown else ())),
        seconds=seconds,
        impostors_set_threshold=set_threshold,
        warnings=tuple(warnings_about(calibration, open_set.false_accept_rate)),
        fitted=_fitted(checkpoint, calibration, data, name, image_list, split_file),
    )


def _fitted(
    checkpoint: Checkpoint,
    calibration: Calibration,
    data: Path | None,
    split: str,
    image_list: ImageList,
    split_file: Path | None,
) -> str | None:
    root = checkpoint.config.data.root
    if data is not None and data.resolve() != root.resolve():
        return _trained_on_some(image_list, split_file, root)
    if split == "val":
        calibrated = calibration.temperature != 1 or calibration.threshold is not None
        fitted = ["the best epoch was selected"] if checkpoint.config.train.best != "last" else []
        fitted += [f"the calibration {'' if fitted else 'was '}fitted"] if calibrated else []
        return f"{' and '.join(fitted)} on these images" if fitted else None
    return {
        "train": "the network was trained on these images",
        "all": "the network was trained on some of these images",
    }.get(split)


def _trained_on_some(image_list: ImageList, split_file: Path | None, root: Path) -> str | None:
    """What is to be said of the images of another folder if some are training or validation images of the run."""
    if split_file is None:
        return None
    splits = read_split_file(split_file, root, missing_hint=None)[1]
    own = {os.path.realpath(path) for name in ("train", "val") for path in splits[name].paths}
    shared = any(os.path.realpath(path) in own for path in image_list.paths)
    return "the network was trained, or the epoch selected, on some of these images" if shared else None


def _by_subgroup(
    file: Path, loaded: LoadedSplit, outputs: Outputs, classes: tuple[str, ...], progress: Reporter
) -> SubgroupResult:
    names = read_subgroups(file, loaded.image_list, classes)
    members = [number for number, name in enumerate(names) if name is not None]
    if len(members) < len(names):
        progress.note(f"{file}: lists no group for {len(names) - len(members):,} of {plural(len(names), 'image')}")
    predicted = outputs.logits.argmax(axis=1)
    return subgroup_metrics(loaded.image_list.labels[members], predicted[members], [name for name in names if name is not None])


def _run_split(checkpoint: Checkpoint, settings: DataConfig, split: str | None) -> tuple[str, ImageList]:
    index = index_dataset(settings, checkpoint.config.split)
    if index.classes != checkpoint.classes:
        raise DataError(
            f"{settings.root}: its classes are not those of training", hint="set the folder to evaluate on with --data DIR"
        )
    split = split or _default_split(index.splits)
    if split not in index.splits:
        raise DataError(f"the run has no split `{split}`", hint=f"its splits are {name_list(index.splits)}")
    return split, index.splits[split]


def _default_split(splits: Container[str]) -> str:
    return "test" if "test" in splits else "val"


def _external_split(checkpoint: Checkpoint, data: Path, split: str | None, progress: Reporter) -> tuple[str, ImageList]:
    if data.is_file():
        splits, notes = map_label_file(data, checkpoint.classes)
        name = _chosen(split, splits if "all" not in splits else (), data)
        image_list = splits[name]
    else:
        folders = split_folders(data)
        name = _chosen(split, folders, data)
        image_list, notes = map_to_classes(folders.get(name, data), checkpoint.classes)
    for note in notes:
        progress.note(note)
    return name, image_list


def _chosen(split: str | None, splits: Collection[str], data: Path) -> str:
    """The name of the split to evaluate; `all` without splits."""
    if not splits:
        return "all"
    split = split or _default_split(splits)
    if split not in splits:
        raise DataError(f"{data}: has no split `{split}`", hint=f"choose one of {name_list(splits)} with --split")
    return split
