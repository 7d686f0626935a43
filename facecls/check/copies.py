"""Copies: one photograph twice, under two labels, or on both sides of a split."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from facecls.check.findings import AuditedImages, Finding, Item
from facecls.check.findings import images as count_images
from facecls.data.duplicates.match import connected_components, exact_pairs, near_duplicate_pairs


def copies(images: AuditedImages) -> Iterator[Finding]:
    """Exact and near-duplicates; those of them under two labels, and in two parts, once more and gravely."""
    exact = exact_pairs(images.stats)
    near = near_duplicate_pairs(images.stats)
    same = _sets(connected_components(len(images), exact))
    alike = _sets(connected_components(len(images), np.concatenate([exact, near])))
    pixels = images.column("pixel_hash")
    alike = [members for members in alike if len(np.unique(pixels[members])) > 1]

    if found := _across(same, images.labels, images.classes):
        yield Finding(
            "two labels",
            True,
            f"{_groups(found)} of identical images {_lie(found)} in more than one class",
            "look at each, and take it out of the class where it is wrong",
            found,
        )
    if found := _across(alike, images.labels, images.classes):
        yield Finding(
            "two labels, near",
            True,
            f"{_groups(found)} of near-identical images {_lie(found)} in more than one class",
            "look at each, and take it out of the class where it is wrong",
            found,
        )
    split = (
        "take them out of one of the folders: what was trained on cannot be scored by"
        if images.splits_are_folders
        else "keep them together: --set split.group=near_duplicates"
    )
    if found := _across(same, images.splits, images.split_names):
        yield Finding("leak", True, f"{_groups(found)} of identical images {_lie(found)} in more than one part", split, found)
    if found := _across(alike, images.splits, images.split_names):
        yield Finding(
            "leak, near", True, f"{_groups(found)} of near-identical images {_lie(found)} in more than one part", split, found
        )
    if same:
        count = sum(len(members) - 1 for members in same)
        files = len(exact_pairs(images.stats, "file_hash"))
        detail = f", {files} of them byte for byte" if files != count else ""
        yield Finding(
            "duplicates",
            False,
            f"{count_images(count)} {'is a copy' if count == 1 else 'are copies'} of another, pixel for pixel{detail}",
            "keep one of each: a copy counts twice and says nothing new",
            tuple(_item(images, members) for members in same),
        )
    if alike:
        count = sum(len(np.unique(pixels[members])) - 1 for members in alike)
        yield Finding(
            "near-duplicates",
            False,
            f"{count_images(count)} {'shows' if count == 1 else 'show'} what another shows: saved again, resized, "
            "cropped, brightened, mirrored, or taken a moment later",
            "keep one of each, or at least keep them on one side of a split: --set split.group=near_duplicates",
            tuple(_item(images, members) for members in alike),
        )


def _sets(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The members of every group that has more than one, by their first."""
    order = np.argsort(labels, kind="stable")
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    return [members for members in np.split(order, starts[1:]) if len(members) > 1]


def _across(sets: list[NDArray[np.int64]], of: NDArray[np.int32], names: tuple[str, ...]) -> tuple[Item, ...]:
    """The sets whose members differ in `of`, with the names that they carry."""
    return tuple(
        Item(tuple(members.tolist()), " / ".join(names[number] for number in np.unique(of[members])))
        for members in sets
        if len(np.unique(of[members])) > 1
    )


def _item(images: AuditedImages, members: NDArray[np.int64]) -> Item:
    return Item(tuple(members.tolist()), " / ".join(dict.fromkeys(images.class_of(index) for index in members)))


def _groups(found: tuple[Item, ...]) -> str:
    return f"{len(found)} group{'s' * (len(found) != 1)}"


def _lie(found: tuple[Item, ...]) -> str:
    return "lies" if len(found) == 1 else "lie"
