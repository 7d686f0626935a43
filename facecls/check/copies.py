"""Checks for duplicates: the same photograph twice, under two labels, or in two splits."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from facecls.check.findings import AuditedImages, Finding, Item
from facecls.data.duplicates.match import connected_components, exact_pairs, near_duplicate_pairs
from facecls.text import plural

# What to do with images in more than one split, and with near-duplicates, by where the splits come from.
_SEPARATE = {
    "folders": "remove them from one of the folders: images that were trained on must not be evaluated on",
    "file": "give them one split in `data.split_file`: images that were trained on must not be evaluated on",
    "groups": "give them one split (`split.by_name`, column `split`): images that were trained on must not be evaluated on",
    "images": "keep them in one split: --set split.group=near_duplicates",
}
_KEEP_ONE = {
    "folders": "keep one of each, or at least keep them in one of the folders",
    "file": "keep one of each, or at least give them one split in `data.split_file`",
    "groups": "keep one of each; they are in one split (split.group: near_duplicates)",
    "images": "keep one of each, or at least keep them in one split: --set split.group=near_duplicates",
}


def copies(images: AuditedImages) -> Iterator[Finding]:
    """Exact and near-duplicates; an error each if they lie in more than one class (label noise) or split (leakage)."""
    exact = exact_pairs(images.stats)
    near = near_duplicate_pairs(images.stats)
    identical = _groups(connected_components(len(images), exact))
    similar = _groups(connected_components(len(images), np.concatenate([exact, near])))
    pixels = images.column("pixel_hash")
    # One of identical images: these have findings of their own.
    similar = [members[np.unique(pixels[members], return_index=True)[1]] for members in similar]
    similar = [np.sort(members) for members in similar if len(members) > 1]

    relabel = "look at each, and remove it from the wrong class"
    for kind, unit, fix, of, names in (
        ("two labels", "class", relabel, images.labels, images.classes),
        ("leak", "split", _SEPARATE[images.splits_from], images.splits, images.split_names),
    ):
        for groups, suffix, what in ((identical, "", "identical"), (similar, ", near", "near-identical")):
            if across := [members for members in groups if len(np.unique(of[members])) > 1]:
                message = f"{plural(len(across), 'group')} of {what} images in more than one {unit}"
                yield Finding(kind + suffix, "error", message, fix, _items(across, of, names))
    if identical:
        count = sum(len(members) - 1 for members in identical)
        files = len(exact_pairs(images.stats, "file_hash"))
        detail = f", {files} of them byte for byte" if files != count else ""
        yield Finding(
            "duplicates",
            "warning",
            f"{plural(count, 'image')} {'is a copy' if count == 1 else 'are copies'} of another, pixel for pixel{detail}",
            "keep one of each: a copy has twice the weight and adds no information",
            _items(identical, images.labels, images.classes),
        )
    if similar:
        count = sum(len(members) - 1 for members in similar)
        yield Finding(
            "near-duplicates",
            "warning",
            f"{plural(count, 'image')} {'is a near-duplicate' if count == 1 else 'are near-duplicates'} of another: saved "
            "again, resized, cropped, brightened, mirrored, or taken a moment later",
            _KEEP_ONE[images.splits_from],
            _items(similar, images.labels, images.classes),
        )


def _groups(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The members of each component of two or more images, from component labels (N,)."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    return [members for members in np.split(order, starts[1:]) if len(members) > 1]


def _items(groups: list[NDArray[np.int64]], of: NDArray[np.int32], names: tuple[str, ...]) -> tuple[Item, ...]:
    """The groups, each with the names of its members' classes or splits `of` (N,)."""
    return tuple(
        Item(tuple(members.tolist()), " / ".join(names[number] for number in np.unique(of[members]))) for members in groups
    )
