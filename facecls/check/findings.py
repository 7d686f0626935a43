"""What an audit finds, and the images it looks at."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.data.duplicates.image_stats import ImageStats

Numbers = NDArray[np.int64]  # of images


@dataclass(frozen=True)
class Item:
    """One thing that a finding lists: an image, copies that belong together, or a class (no images, its name in `note`)."""

    images: tuple[int, ...]
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong, or worth knowing, about a data set.

    grave: it makes a training fail, or its figures untrue.
    """

    kind: str
    grave: bool
    message: str
    fix: str
    items: tuple[Item, ...] = ()


@dataclass(frozen=True)
class AuditedImages:
    """All images of a data set, of all its parts, and what looking at them has told."""

    root: Path
    paths: list[str]
    labels: NDArray[np.int32]  # (N,)
    splits: NDArray[np.int32]  # (N,) numbers of `part_names`
    split_names: tuple[str, ...]
    splits_are_folders: bool  # not drawn by chance
    classes: tuple[str, ...]
    stats: ImageStats

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which images can be read, (N,)."""
        return self.column("readable").astype(bool)

    def column(self, field: str) -> NDArray[Any]:
        """A column of the table of looks, (N,)."""
        return np.asarray(self.stats.table[field])

    def class_of(self, image: int) -> str:
        return self.classes[int(self.labels[image])]

    def split_of(self, image: int) -> str:
        return self.split_names[int(self.splits[image])]

    def counts(self, split: str) -> Numbers:
        """How many images of each class a part holds, (C,)."""
        members = self.splits == self.split_names.index(split)
        return np.bincount(self.labels[members], minlength=len(self.classes))


def images(count: int | np.integer[Any]) -> str:
    """`1 image`, `2 images`."""
    return f"{count} image{'' if count == 1 else 's'}"


def named(names: Iterable[str], most: int = 5) -> str:
    """The first few of some names, in backticks, and how many more there are."""
    listed = list(names)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(f"`{name}`" for name in listed[:most]) + rest
