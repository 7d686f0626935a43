"""What an audit finds, and the pictures it looks at."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.data.duplicates.image_stats import Looks

Numbers = NDArray[np.int64]  # of pictures


@dataclass(frozen=True)
class Item:
    """One thing that a finding lists: a picture, copies that belong together, or a class (no pictures, its name in `note`)."""

    pictures: tuple[int, ...]
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
class Pictures:
    """All pictures of a data set, of all its parts, and what looking at them has told."""

    root: Path
    paths: list[str]
    labels: NDArray[np.int32]  # (N,)
    parts: NDArray[np.int32]  # (N,) numbers of `part_names`
    part_names: tuple[str, ...]
    parts_are_folders: bool  # not drawn by chance
    classes: tuple[str, ...]
    looks: Looks

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which pictures can be read, (N,)."""
        return self.look("readable").astype(bool)

    def look(self, field: str) -> NDArray[Any]:
        """A column of the table of looks, (N,)."""
        return np.asarray(self.looks.table[field])

    def class_of(self, picture: int) -> str:
        return self.classes[int(self.labels[picture])]

    def part_of(self, picture: int) -> str:
        return self.part_names[int(self.parts[picture])]

    def counts(self, part: str) -> Numbers:
        """How many pictures of each class a part holds, (C,)."""
        members = self.parts == self.part_names.index(part)
        return np.bincount(self.labels[members], minlength=len(self.classes))


def pictures(count: int | np.integer[Any]) -> str:
    """`1 picture`, `2 pictures`."""
    return f"{count} picture{'' if count == 1 else 's'}"


def named(names: Iterable[str], most: int = 5) -> str:
    """The first few of some names, in backticks, and how many more there are."""
    listed = list(names)
    rest = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(f"`{name}`" for name in listed[:most]) + rest
