"""Looks at a folder of faces and writes a config that fits it, with the reasons as comments."""

import json
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecls.config.schema import UNKNOWN
from facecls.data.dataset import require_two_classes
from facecls.data.listing import Paths, split_folders
from facecls.errors import ImageError
from facecls.faces.decode import open_image

_LOOKED_AT = 64  # images whose size is measured
_SEEN = 90_000  # faces that a recipe shows the network in all: some seven minutes on two processor cores at 96 pixels
_SIDES = {"left", "right"}  # words in class names that mirroring would turn into lies


@dataclass(frozen=True)
class FolderSummary:
    """What a recipe depends on."""

    root: Path
    classes: Sequence[str]
    counts: Sequence[int]  # training images of each class
    side: int  # pixels, the median shorter side
    has_val: bool

    @property
    def images(self) -> int:
        return sum(self.counts)


def summarise_folder(root: Path) -> FolderSummary:
    """Counts classes and images and measures some; raises DataError for what FaceFolder refuses, and for one class."""
    splits = split_folders(root)
    from facecls.data.folder import FaceFolder

    train = FaceFolder(splits.get("train", root))
    require_two_classes(train.classes, root)
    counts = np.bincount(train.image_list.labels, minlength=len(train.classes)).tolist()
    return FolderSummary(root, train.classes, counts, _median_side(train.image_list.paths), "val" in splits)


def suggest(look: FolderSummary) -> str:
    """The config as YAML text."""
    size, epochs, batch = _image_size(look), _epochs(look), 32 if look.images < 1000 else 64
    smallest, largest = min(look.counts), max(look.counts)
    steps = epochs * max(1, round(look.images / batch))
    average = max(0.9, min(0.998, round(1 - 20 / steps, 4)))
    each = f"{smallest} to {largest}" if smallest != largest else f"{smallest}"
    lines = [
        f"# {len(look.classes)} classes, {look.images} images, {each} in a class; shorter side {look.side} pixels.",
        "# `facecls config schema` tells all keys; what is not named here has its default.",
        "",
        "data:",
        f"  root: {_quoted(str(look.root))}",
        f"  image_size: {size}  # {_why_size(look, size)}",
        "  crop: 1.0  # lower it where the face fills only the middle: 0.5 keeps the central half of each side",
    ]
    if _are_handed(look.classes):
        lines.append("  flip_changes_class: true  # class names speak of left and right: a mirror image is of another class")
    if not look.has_val:
        lines += ["split:", "  val: 0.2  # a fifth of each class is held out, to choose the best epoch and to score by"]
    stem = "small" if size < 64 else "standard"
    lines += ["model:", "  name: resnet18", f"  stem: {stem}  # {_why_stem(size)}"]
    if len(look.classes) > 2:
        lines += ["head:", "  name: cosface  # a margin between classes: best where they are many and alike, as people are"]
        lines += ["  scale: 16", "  margin: 0.2", "  margin_warmup: 0.5"]
        lines += ["loss:", "  label_smoothing: 0.0  # the margin does its work"]
    else:
        lines += ["head:", "  name: linear  # two classes leave a margin between angles little to do"]
    lines += [
        "optimizer: {name: sgd, lr: 0.1, momentum: 0.9, nesterov: true, weight_decay: 5e-4}",
        "schedule: {name: onecycle, warmup_epochs: 2}",
        "train:",
        f"  epochs: {epochs}  # {_why_epochs(epochs)}",
        f"  batch_size: {batch}  # {'few images: smaller batches, more steps' if batch == 32 else 'the usual one'}",
        f"  ema: {average:g}  # averages over the last {round(1 / (1 - average))} of {steps} steps",
    ]
    if smallest * 5 < largest:
        lines.append("  best: val_macro_f1  # classes differ in size more than five times: each is to count alike")
    if UNKNOWN in look.classes:
        lines.append("unknown: {enabled: false}  # a class is called so: move it elsewhere, if it holds strangers")
    return "\n".join(lines) + "\n"


def _are_handed(classes: Sequence[str]) -> bool:
    """Whether some class names speak of the left side and others of the right one, as in `leftEye` and `right_eye`."""
    words = (re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name) for name in classes)
    sides = [{word.lower() for word in each} & _SIDES for each in words]
    return all({side} in sides for side in _SIDES)


def _median_side(paths: Paths) -> int:
    sides = []
    for index in np.linspace(0, len(paths) - 1, min(_LOOKED_AT, len(paths))).astype(int).tolist():
        try:
            sides.append(min(open_image(paths[index]).size))
        except ImageError:
            continue  # training will name it
    return round(statistics.median(sides)) if sides else 112


def _image_size(look: FolderSummary) -> int:
    for size in (96, 80, 64, 48, 32):
        if look.side >= size:
            return size
    return 32


def _why_size(look: FolderSummary, size: int) -> str:
    if look.side >= 112:
        return "pixels: faces are small things, and at 112 an epoch takes a third longer"
    if look.side > size:
        return "pixels: the next of 80, 64, 48 and 32 that the images have"
    return "pixels, as many as the images have" if look.side == size else "pixels; the images have fewer"


def _why_stem(size: int) -> str:
    return "small images keep their detail in the first layers" if size < 64 else "`small` is for images below 64 pixels"


def _epochs(look: FolderSummary) -> int:
    return max(20, min(120, round(_SEEN / look.images)))


def _why_epochs(epochs: int) -> str:
    if epochs == 120:
        return "few images, so each is seen often, changed each time"
    if epochs == 20:
        return "many images: fewer rounds are enough to begin with"
    return f"shows {_SEEN:,} faces in all"


def _quoted(text: str) -> str:
    # JSON's strings are YAML's; without quotes a name such as 2024 or true would be no text.
    if re.fullmatch(r"[\w.-]*/[\w./-]*", text):
        return text
    # A name that is not UTF-8 has lone surrogates in it (PEP 383): escaped, they can be written, and come back.
    return json.dumps(text, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
