"""Images that cannot be read, or show too little."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from facecls.check.findings import AuditedImages, Finding, Item, named
from facecls.check.findings import images as count_images
from facecls.config.schema import DataConfig
from facecls.data.duplicates.image_stats import WORKING_SIDE
from facecls.data.duplicates.match import FLAT_SPREAD

BLACK = 16.0
"""Mean grey, of 0..255, below which an image is nearly black. The darkest 0.1 % of LFW's and FER2013's begin at 25."""

BLURRED = 0.004
"""Sharpness below which an image of 112 pixels or more is blurred, as by a Gaussian of 2 % of its side.

Images smaller by a factor k have k cubed times the sharpness. LFW's blurriest has 0.0125, FER2013's 0.1 where 0.05 is the
limit.
"""

TINY = 24
"""Pixels of the shorter side below which hardly anybody is known again."""

ENLARGED = 4.0
"""How many times an image may be enlarged to `data.image_size` before it counts as tiny, too."""

OBLONG = 3.0
"""Longer over shorter side, above which cropping leaves too little and stretching distorts too much."""

GREY = 2.0
"""Mean distance of a pixel's largest from its smallest channel, of 0..255, below which an image is grey."""

MIXED = 0.05
"""The share of grey (or of coloured) images from which on a data set counts as mixed."""

MIXED_CLASS = 0.2
"""The share of them in one class, from which on it counts as mixed whatever their share is in all."""

_SEVERAL = 3  # images of a class that are no accident

_LOOK = "look at each, and remove those that nobody could tell"


def unreadable(images: AuditedImages) -> Iterator[Finding]:
    """Files that are missing, damaged, cut short, no images, too large: whatever decoding refuses."""
    reasons = images.stats.reasons
    if reasons:
        yield Finding(
            "unreadable",
            True,
            f"{count_images(len(reasons))} cannot be read",
            "mend or remove them, or train without them: --set data.on_bad_image=skip",
            tuple(Item((index,), reasons[index]) for index in sorted(reasons)),
        )


def black(images: AuditedImages) -> Iterator[Finding]:
    """Images with next to no light."""
    found = images.readable & (images.column("mean") < BLACK)
    yield from _each(
        images, "black", found, "nearly black", _LOOK, lambda index: f"mean {images.column('mean')[index]:.0f} of 255"
    )


def flat(images: AuditedImages) -> Iterator[Finding]:
    """Images of nearly one colour that is not black."""
    found = images.readable & (images.column("spread") < FLAT_SPREAD) & (images.column("mean") >= BLACK)
    fix = "remove them: there is nothing in them"
    spread = images.column("spread")
    yield from _each(images, "flat", found, "nearly of one colour", fix, lambda index: f"spread {spread[index]:.1f} of 255")


def blurred(images: AuditedImages) -> Iterator[Finding]:
    """Images without fine detail at the size at which a model sees them."""
    shorter = np.minimum(np.minimum(images.column("width"), images.column("height")), WORKING_SIDE)
    least = BLURRED * (WORKING_SIDE / np.maximum(shorter, 1)) ** 3
    found = images.readable & (images.column("spread") >= FLAT_SPREAD) & (images.column("sharpness") < least)
    # Below the size at which a face can be told anyway, the fine detail of a blurred one is the image's own.
    found &= shorter >= TINY
    sharpness = images.column("sharpness") / least
    yield from _each(images, "blurred", found, "blurred", _LOOK, lambda index: f"{sharpness[index]:.0%} of the least sharpness")


def oblong(images: AuditedImages) -> Iterator[Finding]:
    """Images much longer than wide, or wider than long."""
    width, height = images.column("width"), images.column("height")
    ratio = np.maximum(width, height) / np.maximum(np.minimum(width, height), 1)
    yield from _each(
        images,
        "oblong",
        images.readable & (ratio > OBLONG),
        f"more than {OBLONG:g} times as long as wide",
        "crop them to the face",
        lambda index: f"{width[index]} x {height[index]} pixels",
    )


def tiny(images: AuditedImages, data: DataConfig) -> Iterator[Finding]:
    """Images of so few pixels, in the share that is kept, that they would be enlarged to a blur."""
    width, height = images.column("width"), images.column("height")
    shorter = np.minimum(width, height) * data.crop
    least = max(TINY, data.image_size / ENLARGED)
    yield from _each(
        images,
        "tiny",
        images.readable & (shorter < least),
        f"less than {least:g} pixels on the shorter side" + (f" of the central {data.crop:.0%}" if data.crop < 1 else ""),
        "find larger ones, or train with a smaller data.image_size",
        lambda index: f"{width[index]} x {height[index]} pixels",
    )


def colour_and_grey(images: AuditedImages) -> Iterator[Finding]:
    """Grey images among coloured ones, or the other way round: where classes differ in it, it is learned as a sign."""
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
        False,
        f"{count} of {total} images are grey; the {'grey' if count * 2 <= total else 'coloured'} ones make up "
        + ", ".join(f"{shares[number]:.0%} of `{images.classes[number]}`" for number in most if of_class[number]),
        "where classes differ in it, make all of them grey, or a model learns the colour instead of the face",
        tuple(Item((int(index),), images.class_of(int(index))) for index in np.flatnonzero(fewer)),
    )


def _each(
    images: AuditedImages, kind: str, found: NDArray[np.bool_], what: str, fix: str, note: Callable[[int], str]
) -> Iterator[Finding]:
    indices = np.flatnonzero(found).tolist()
    if indices:
        where = np.bincount(images.labels[found], minlength=len(images.classes))
        most = np.argsort(-where, kind="stable")
        classes = named([images.classes[number] for number in most if where[number]], most=3)
        message = f"{count_images(len(indices))} {'is' if len(indices) == 1 else 'are'} {what}, in {classes}"
        yield Finding(kind, False, message, fix, tuple(Item((index,), note(index)) for index in indices))
