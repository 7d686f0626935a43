"""`facecls init`: suggests a config for a folder of faces, with the reasons as comments."""

import json
import re
import statistics
from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from facecls.check.photographs import FaceSample, sample, sample_of, search
from facecls.config.schema import UNKNOWN, DataConfig
from facecls.data.dataset import check_nesting, require_two_classes
from facecls.data.label_file import read_label_file
from facecls.data.listing import Paths, split_folders
from facecls.errors import ImageError
from facecls.faces.align import aligned_side
from facecls.faces.decode import open_image
from facecls.text import plural

_MARGIN = DataConfig.model_fields["margin"].default
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
    faces: FaceSample | None = None  # what was found in them; None without a detector
    face_side: int = 0  # median of the squares that would be cut out of them, pixels

    @property
    def images(self) -> int:
        return sum(self.counts)


def summarise_folder(root: Path) -> FolderSummary:
    """Counts classes and images and samples image sizes and faces, of a folder or a label file.

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
    return _with_sample(FolderSummary(root, classes, counts, 112, "val" in splits), image_list.paths)


def suggest_config(summary: FolderSummary) -> str:
    """The config as YAML text."""
    detect = summary.faces if summary.faces is not None and summary.faces.photographs else None
    side, what = (summary.face_side, "faces") if detect else (summary.side, "images")
    size = next((size for size in (96, 80, 64, 48) if side >= size), 32)
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
        f"  image_size: {size}  # {_why_size(side, size, what)}",
        f"  faces: {'detect' if detect else 'image'}  # {_why_faces(summary.faces)}",
    ]
    if not detect:
        lines.append("  crop: 1.0  # lower it if the face fills only the middle: 0.5 keeps the central half of each side")
    elif missed := detect.images - len(detect.shares):
        lines.append(f"  on_no_face: skip  # no face was found in {plural(missed, 'sampled image')}; `whole` would use them")
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


def _with_sample(summary: FolderSummary, paths: Paths) -> FolderSummary:
    """The summary with the sizes of some images and the faces in them."""
    sampled = sample(paths)
    found = search(sampled)
    sides, errors = [], []
    for path, each in zip(sampled, found or [None] * len(sampled), strict=True):
        if each is not None:
            sides.append(min(each.width, each.height))
            continue
        try:
            sides.append(min(open_image(path).size))
        except ImageError as error:
            errors.append(error)
    cut = [aligned_side(each.faces[0], _MARGIN) for each in found or () if each is not None and each.faces]
    return replace(
        summary,
        side=round(statistics.median(sides)) if sides else summary.side,
        sampled=len(sampled),
        unreadable=tuple(errors),
        faces=None if found is None else sample_of(found),
        face_side=round(statistics.median(cut)) if cut else 0,
    )


def _why_faces(faces: FaceSample | None) -> str:
    if faces is None:
        return "each image is one face; to find faces in photographs: pip install 'facecls[faces]'"
    return faces.reason if faces.images else "each image is one face"


def _why_size(side: int, size: int, what: str) -> str:
    if side >= 112:
        return "pixels: enough for a face; at 112 an epoch takes a third longer"
    if side > size:
        return f"pixels: the largest of 96, 80, 64, 48 and 32 that the {what} have"
    return f"pixels, the size of the {what}" if side == size else f"pixels, more than the {what} have"


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
