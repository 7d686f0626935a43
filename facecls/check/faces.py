"""Checks of what the detector found: no face, several, doubtful, small or turned ones; and whether it should be used."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from facecls.check.findings import AuditedImages, Finding, Item, Severity
from facecls.check.photographs import sample, sample_of, search
from facecls.config.schema import DataConfig
from facecls.data.detections import DOUBTFUL
from facecls.faces.align import aligned_side
from facecls.faces.detect import DetectedFace, DetectorOptions
from facecls.text import plural

PROFILE = 0.35
"""Distance of the nose tip from the middle of the eyes along their line, by their distance, above which a face is turned.

2 % of LFW are above it.
"""

THUMBNAILS: dict[str, Literal["boxes", "cut"]] = {
    "several faces": "cut",
    "turned": "boxes",
    "doubtful faces": "cut",
    "small faces": "cut",
    "profiles": "cut",
}
"""Kinds of findings that are shown with the boxes in the image, or with the main face as it is cut out."""

_FEW = 3  # images of a class with several faces below which it gets no warning
_CLASSES = 3  # named in a message


def check_faces(images: AuditedImages, data: DataConfig, cache_dir: Path | None = None) -> Iterator[Finding]:
    """What was detected. With `data.faces: image`, if a detector is installed: whether a sample looks like photographs."""
    if images.detections is None:
        yield from _photographs(images, data, cache_dir)
        return
    counts, faces = images.detections.counts(), images.detections.main_faces()
    yield from _no_face(images, counts, data)
    yield from _several(images, counts)
    yield from _of_images(
        images,
        "doubtful faces",
        "info",
        [None if face is None or face.score >= DOUBTFUL else f"score {face.score:.2f}" for face in faces],
        f"the score of the face is below {DOUBTFUL:g}",
        "look whether each is a face; raise data.min_score to leave out those that are not",
    )
    yield from _of_images(
        images,
        "turned",
        "warning",
        [f"turn it by {each.turn} degrees clockwise" if each and each.turn else None for each in images.detections.found],
        "the faces seem sideways or inverted",
        "turn these images; `facecls prepare --rotate` writes upright crops",
    )
    sides = [np.inf if face is None else aligned_side(face, data.margin) for face in faces]
    least = data.image_size / 2
    yield from _of_images(
        images,
        "small faces",
        "warning",
        [f"{side:.0f} x {side:.0f} pixels" if side < least else None for side in sides],
        f"the face with its margin has fewer than {least:g} x {least:g} pixels",
        "use larger images, or train with a smaller data.image_size",
    )
    turns = [0.0 if face is None else turn(face) for face in faces]
    yield from _of_images(
        images,
        "profiles",
        "info",
        [f"nose off the middle by {value:.0%} of the eyes' distance" if value > PROFILE else None for value in turns],
        "the face is turned to the side",
        "people are harder to recognise from the side: add such images of each person, or remove these",
    )


def turn(face: DetectedFace) -> float:
    """The distance of the nose tip from the middle of the eyes along their line, by the eyes' distance; 0 from the front."""
    points = np.array(face.landmarks)
    between = points[1] - points[0]
    return float(abs((points[2] - points[:2].mean(axis=0)) @ between) / max(between @ between, 1e-9))


def _no_face(images: AuditedImages, counts: NDArray[np.int64], data: DataConfig) -> Iterator[Finding]:
    """Images without a face; in most images of face crops or drawings, the detector may find none."""
    found = counts == 0
    fix = "turn those upright that lie on their side, and remove the others"
    if data.on_no_face == "error":
        fix += ", leave them out with --set data.on_no_face=skip, or use them as a whole with --set data.on_no_face=whole"
    if 2 * found.sum() > (counts >= 0).sum():
        fix = (
            "if each image is one face, use it as it is: --set data.faces=image; if they are photographs, lower data.min_score"
            if data.min_score > DetectorOptions().min_score
            else "these do not look like photographs: if each image is one face, use it as it is: --set data.faces=image"
        )
    yield from _of_images(
        images,
        "no face",
        "error" if data.on_no_face == "error" else "warning",
        ["" if none else None for none in found],
        "no face was found",
        fix,
        {"error": " (stops training)", "skip": " (left out)", "whole": " (used as a whole)"}[data.on_no_face],
    )


def _several(images: AuditedImages, counts: NDArray[np.int64]) -> Iterator[Finding]:
    """Images with several faces, and classes in which most images have several."""
    found = counts > 1
    if not found.any():
        return
    several = np.bincount(images.labels[found], minlength=len(images.classes))
    total = np.bincount(images.labels[counts >= 0], minlength=len(images.classes))
    most = np.flatnonzero((2 * several > total) & (several >= _FEW)).tolist()
    if most:
        yield Finding(
            "several faces",
            "warning",
            f"{plural(len(most), 'class')} with several faces in more than half of the images: the largest face, which is "
            "used, may be another person's",
            "look whether the face shown is the person's, and crop those images in which it is not",
            tuple(
                Item(
                    tuple(np.flatnonzero(found & (images.labels == number)).tolist()),
                    f"{images.classes[number]}: {several[number]} of {plural(int(total[number]), 'image')}",
                )
                for number in most
            ),
        )
    yield from _of_images(
        images,
        "several faces",
        "info",
        [f"{count} faces" if count > 1 else None for count in counts],
        "several faces, of which the largest is used,",
        "look whether the face shown is the person's, and crop those images in which it is not",
    )


def _photographs(images: AuditedImages, data: DataConfig, cache_dir: Path | None) -> Iterator[Finding]:
    """Whether sampled images look like photographs, although each is used as one face."""
    found = search(sample(images.paths), cache_dir)
    if found is None:
        return
    faces = sample_of(found, data.crop)
    if faces.photographs:
        crop = "" if data.crop == 1 else f" of the central {data.crop:.0%}"
        yield Finding(
            "photographs",
            "warning",
            f"{faces.reason}{crop}: these look like whole photographs, but each is used as one face",
            "find the faces first: --set data.faces=detect",
        )


def _of_images(
    images: AuditedImages, kind: str, severity: Severity, notes: Sequence[str | None], what: str, fix: str, used: str = ""
) -> Iterator[Finding]:
    """The finding `what` about the images with a note, if any, with their numbers by class."""
    listed = [index for index, note in enumerate(notes) if note is not None]
    if not listed:
        return
    counts = np.bincount(images.labels[listed], minlength=len(images.classes))
    order = [number for number in np.argsort(-counts, kind="stable").tolist() if counts[number]]
    classes = [f"{counts[number]} of `{images.classes[number]}`" for number in order[:_CLASSES]]
    left = int(counts[order[_CLASSES:]].sum())
    more = f" and {left:,} of {plural(len(order) - _CLASSES, 'other class')}" if left else ""
    yield Finding(
        kind,
        severity,
        f"{what} in {plural(len(listed), 'image')}{used}: {', '.join(classes)}{more}",
        fix,
        tuple(Item((index,), notes[index] or "") for index in listed),
    )
