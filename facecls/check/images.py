"""Checks of single images: unreadable, too dark, flat, blurred, oblong, tiny, grey among coloured."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.check.findings import AuditedImages, Finding, Item
from facecls.config.schema import DataConfig
from facecls.data.duplicates.image_stats import WORKING_SIDE
from facecls.data.duplicates.match import FLAT_SPREAD
from facecls.text import name_list, plural

BLACK = 16.0
"""Mean grey level (0 to 255) below which an image is nearly black; in LFW and FER2013, 99.9 % of the images are above 25."""

BLURRED = 0.004
"""Sharpness below which an image of 112 pixels or more is blurred, as by a Gaussian whose sigma is 2 % of its side.

For an image smaller by a factor k the limit is k cubed times as high. The minimum in LFW is 0.0125, in FER2013 0.1 (limit
0.05).
"""

TINY = 24
"""Shorter side in pixels below which people can hardly be recognised."""

ENLARGED = 4.0
"""Enlargement to `data.image_size` above which an image also counts as tiny."""

OBLONG = 3.0
"""Aspect ratio above which cropping leaves too little and stretching distorts too much."""

GREY = 2.0
"""Mean difference of a pixel's largest and smallest channel (0 to 255) below which an image is grey."""

MIXED = 0.05
"""Share of grey (or of coloured) images from which a data set counts as mixed."""

MIXED_CLASS = 0.2
"""Share of the less frequent kind in one class from which a data set counts as mixed, whatever the share in all images."""

_SEVERAL = 3  # images of a class below which MIXED_CLASS does not apply

_REVIEW = "look at each, and remove those in which nobody can be recognised"


def unreadable(images: AuditedImages) -> Iterator[Finding]:
    """Files that cannot be decoded: missing, damaged, truncated, too large, or not an image."""
    reasons = images.stats.reasons
    if reasons:
        yield Finding(
            "unreadable",
            "error",
            f"{plural(len(reasons), 'image')} cannot be read",
            "repair or remove them, or train without them: --set data.on_bad_image=skip",
            tuple(Item((index,), reasons[index]) for index in sorted(reasons)),
        )


def black(images: AuditedImages) -> Iterator[Finding]:
    """Images that are nearly black."""
    mean = images.column("mean")
    found = images.readable & (mean < BLACK)
    yield from _finding(images, "black", found, "nearly black", _REVIEW, "mean {:.0f} of 255", mean)


def flat(images: AuditedImages) -> Iterator[Finding]:
    """Images of nearly uniform colour other than black."""
    spread = images.column("spread")
    found = images.readable & (spread < FLAT_SPREAD) & (images.column("mean") >= BLACK)
    fix = "remove them: they show nothing"
    yield from _finding(images, "flat", found, "nearly of one colour", fix, "standard deviation {:.1f} of 255", spread)


def blurred(images: AuditedImages) -> Iterator[Finding]:
    """Images without fine detail at a size of at most WORKING_SIDE pixels."""
    shorter = np.minimum(np.minimum(images.column("width"), images.column("height")), WORKING_SIDE)
    least = BLURRED * (WORKING_SIDE / np.maximum(shorter, 1)) ** 3
    found = images.readable & (images.column("spread") >= FLAT_SPREAD) & (images.column("sharpness") < least)
    # In images below TINY pixels the measure does not separate blurred from sharp; `tiny` reports them.
    found &= shorter >= TINY
    relative = images.column("sharpness") / least
    yield from _finding(images, "blurred", found, "blurred", _REVIEW, "sharpness {:.0%} of the limit", relative)


def oblong(images: AuditedImages) -> Iterator[Finding]:
    """Images of an extreme aspect ratio."""
    width, height = images.column("width"), images.column("height")
    ratio = np.maximum(width, height) / np.maximum(np.minimum(width, height), 1)
    yield from _finding(
        images,
        "oblong",
        images.readable & (ratio > OBLONG),
        f"more than {OBLONG:g} times as wide as high, or as high as wide",
        "crop them to the face",
        "{} x {} pixels",
        width,
        height,
    )


def tiny(images: AuditedImages, data: DataConfig) -> Iterator[Finding]:
    """Images whose crop has so few pixels that enlarging it to `data.image_size` blurs it."""
    width, height = images.column("width"), images.column("height")
    shorter = np.minimum(width, height) * data.crop
    least = max(TINY, data.image_size / ENLARGED)
    yield from _finding(
        images,
        "tiny",
        images.readable & (shorter < least),
        f"smaller than {least:g} pixels on the shorter side" + (f" of the central {data.crop:.0%}" if data.crop < 1 else ""),
        "use larger images, or train with a smaller data.image_size",
        "{} x {} pixels",
        width,
        height,
    )


def colour_and_grey(images: AuditedImages) -> Iterator[Finding]:
    """A mix of grey and coloured images: if the share differs between classes, a model learns colour as a shortcut."""
    grey = images.column("chroma") < GREY
    count = int((grey & images.readable).sum())
    total = int(images.readable.sum())
    if count in (0, total):
        return
    fewer = images.readable & (grey if count * 2 <= total else ~grey)
    of_class = np.bincount(images.labels[fewer], minlength=len(images.classes))
    shares = of_class / np.maximum(np.bincount(images.labels[images.readable], minlength=len(images.classes)), 1)
    most = np.argsort(-shares, kind="stable")[:3]
    if min(count, total - count) < MIXED * total and (of_class[most[0]] < _SEVERAL or shares[most[0]] < MIXED_CLASS):
        return
    yield Finding(
        "colour and grey",
        "warning",
        f"{count} of {total} images are grey; the {'grey' if count * 2 <= total else 'coloured'} ones make up "
        + ", ".join(f"{shares[number]:.0%} of `{images.classes[number]}`" for number in most if of_class[number]),
        "if the share differs between classes, convert all images to grey, or a model learns the colour instead of the face",
        tuple(Item((int(index),), images.class_of(int(index))) for index in np.flatnonzero(fewer)),
    )


def _finding(
    images: AuditedImages, kind: str, found: NDArray[np.bool_], what: str, fix: str, note: str, *values: NDArray[Any]
) -> Iterator[Finding]:
    """The finding about the images where `found` (N,) is true, if any; `note` is a format for an image's `values` (N,)."""
    indices = np.flatnonzero(found).tolist()
    if indices:
        per_class = np.bincount(images.labels[found], minlength=len(images.classes))
        order = np.argsort(-per_class, kind="stable")
        classes = name_list([images.classes[number] for number in order if per_class[number]], most=3)
        message = f"{plural(len(indices), 'image')} {'is' if len(indices) == 1 else 'are'} {what}, in {classes}"
        items = tuple(Item((index,), note.format(*(column[index] for column in values))) for index in indices)
        yield Finding(kind, "warning", message, fix, items)
