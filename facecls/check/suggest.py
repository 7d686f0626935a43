"""`facecls init`: suggests a config for a folder of faces, with the reasons as comments."""

import json
import re
import statistics
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecls.config.schema import UNKNOWN
from facecls.data.dataset import check_nesting, require_two_classes
from facecls.data.label_file import read_label_file
from facecls.data.listing import Paths, split_folders
from facecls.errors import ImageError
from facecls.faces.decode import open_image
from facecls.text import plural

_MEASURED = 64  # images whose size is measured
_IMAGES_SEEN = 90_000  # over all epochs: some seven minutes on two processor cores at 96 pixels
_SIDES = {"left", "right"}  # words in class names that a horizontal flip swaps


@dataclass(frozen=True)
class FolderSummary:
    """The properties of a folder, or of a label file, that the suggested config depends on."""

    root: Path  # the folder or the label file
    classes: Sequence[str]
    counts: Sequence[int]  # training images per class
    side: int  # median of the shorter side, pixels
    has_val: bool
    sampled: int = 0  # images opened to measure it
    unreadable: tuple[ImageError, ...] = ()  # those of them that cannot be opened

    @property
    def images(self) -> int:
        return sum(self.counts)


def summarise_folder(root: Path) -> FolderSummary:
    """Counts classes and images and samples image sizes, of a folder or a label file.

    Raises DataError as FaceFolder and `read_label_file` do, and for a single class.
    """
    splits: Container[str]
    if root.is_file():
        found = read_label_file(root, root.parent)
        splits, classes, image_list = found.splits or (), found.classes, found.image_list
        if found.splits:
            image_list = image_list.take(found.splits.get("train", np.arange(0)))
    else:
        from facecls.data.folder import FaceFolder

        splits = folders = split_folders(root)
        train = FaceFolder(folders.get("train", root))
        check_nesting(train.image_list, train.classes)
        classes, image_list = tuple(train.classes), train.image_list
    require_two_classes(classes, root)
    counts = np.bincount(image_list.labels, minlength=len(classes)).tolist()
    sides, unreadable = _sample_sides(image_list.paths)
    side = round(statistics.median(sides)) if sides else 112
    sampled = len(sides) + len(unreadable)
    return FolderSummary(root, classes, counts, side, "val" in splits, sampled, tuple(unreadable))


def suggest_config(summary: FolderSummary) -> str:
    """The config as YAML text."""
    size = next((size for size in (96, 80, 64, 48) if summary.side >= size), 32)
    epochs, batch = max(20, min(120, round(_IMAGES_SEEN / summary.images))), 32 if summary.images < 1000 else 64
    smallest, largest = min(summary.counts), max(summary.counts)
    steps = epochs * max(1, round(summary.images / batch))
    decay = max(0.9, min(0.998, round(1 - 20 / steps, 4)))
    per_class = f"{smallest} to {largest}" if smallest != largest else f"{smallest}"
    lines = [
        f"# {len(summary.classes)} classes, {summary.images} images, {per_class} per class, shorter side {summary.side} pixels",
        "# `facecls config schema` lists all keys; keys that are not set here have their defaults.",
        "",
        "data:",
        f"  {'csv' if summary.root.is_file() else 'root'}: {_quoted(str(summary.root))}",
        f"  image_size: {size}  # {_why_size(summary, size)}",
        "  crop: 1.0  # lower it if the face fills only the middle: 0.5 keeps the central half of each side",
    ]
    if _flip_changes_class(summary.classes):
        lines.append("  flip_changes_class: true  # class names contain left and right: a mirrored image is of another class")
    if not summary.has_val:
        lines += ["split:", "  val: 0.2  # a fifth of each class is held out, to select the best epoch and to evaluate"]
    stem = (
        "small  # keeps the detail of small images in the first layers"
        if size < 64
        else "standard  # `small` is for images below 64 pixels"
    )
    lines += ["model:", "  name: resnet18", f"  stem: {stem}"]
    if len(summary.classes) > 2:
        lines += ["head:", "  name: cosface  # a margin between classes: best for many similar classes, such as people"]
        lines += ["  scale: 16", "  margin: 0.2", "  margin_warmup: 0.5"]
        lines += ["loss:", "  label_smoothing: 0.0  # the margin has the same effect"]
    else:
        lines += ["head:", "  name: linear  # with two classes an angular margin gains little"]
    lines += [
        "optimizer: {name: sgd, lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 5e-4}",
        "schedule: {name: onecycle, warmup_epochs: 2}",
        "train:",
        f"  epochs: {epochs}  # {_why_epochs(epochs)}",
        f"  batch_size: {batch}  # {'few images: smaller batches, more steps' if batch == 32 else 'the default'}",
        f"  ema: {decay:g}  # averages over the last {round(1 / (1 - decay))} of {plural(steps, 'step')}",
    ]
    if smallest * 5 < largest:
        lines.append("  best: val_macro_f1  # class sizes differ more than five times: macro F1 weights classes equally")
    if UNKNOWN in summary.classes:
        lines.append(f"unknown: {{enabled: false}}  # a class is named `{UNKNOWN}`: remove it if it holds unknown people")
    return "\n".join(lines) + "\n"


def _flip_changes_class(classes: Sequence[str]) -> bool:
    """Whether some class names contain the word left and others right, as in `leftEye` and `right_eye`."""
    words = (re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name) for name in classes)
    sides = [{word.lower() for word in name_words} & _SIDES for name_words in words]
    return all({side} in sides for side in _SIDES)


def _sample_sides(paths: Paths) -> tuple[list[int], list[ImageError]]:
    """The shorter sides of some images, pixels, and the errors of those that cannot be opened."""
    sides, errors = [], []
    for index in np.linspace(0, len(paths) - 1, min(_MEASURED, len(paths))).astype(int).tolist():
        try:
            sides.append(min(open_image(paths[index]).size))
        except ImageError as error:
            errors.append(error)
    return sides, errors


def _why_size(summary: FolderSummary, size: int) -> str:
    if summary.side >= 112:
        return "pixels: enough for a face; at 112 an epoch takes a third longer"
    if summary.side > size:
        return "pixels: the largest of 96, 80, 64, 48 and 32 that the images have"
    return "pixels, the size of the images" if summary.side == size else "pixels, more than the images have"


def _why_epochs(epochs: int) -> str:
    if epochs == 120:
        return "few images: many epochs, with augmentation"
    if epochs == 20:
        return "many images: few epochs are enough to start with"
    return f"about {_IMAGES_SEEN:,} images over all epochs"


def _quoted(text: str) -> str:
    # A JSON string is a YAML string; without quotes a name such as 2024 or true would not be a string.
    if re.fullmatch(r"[\w.-]*/[\w./-]*", text):
        return text
    # A name that is not UTF-8 contains lone surrogates (PEP 383): escaped, they can be written and read back.
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
