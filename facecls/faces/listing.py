"""Which pictures lie in a folder: the names of many files in few bytes, and what was passed over."""

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from facecls.faces.image import SUFFIXES

Indices = NDArray[np.int64]

_SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information"}
_SYSTEM_FILES = {"Thumbs.db", "desktop.ini"}


class Paths(Sequence[str]):
    """The paths of many files below one root, kept as one buffer of bytes and one array of offsets.

    A list of a million paths takes some 200 bytes for each; this takes the name's length and 8 more.
    """

    def __init__(self, root: str | os.PathLike[str], names: bytes, offsets: NDArray[np.uint64]) -> None:
        self.root = os.fspath(root)
        self._names = names
        self._offsets = offsets  # (N + 1,)

    @classmethod
    def of(cls, root: str | os.PathLike[str], names: Iterable[str]) -> "Paths":
        """Packs names that are relative to `root`."""
        buffer, offsets = bytearray(), array("Q", [0])
        for name in names:
            buffer += os.fsencode(name)
            offsets.append(len(buffer))
        return cls(root, bytes(buffer), np.frombuffer(offsets, np.uint64))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def name(self, index: int) -> str:
        """The path relative to the root."""
        return os.fsdecode(self._names[int(self._offsets[index]) : int(self._offsets[index + 1])])

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return os.path.join(self.root, self.name(index % len(self)))  # noqa: PTH118 -- millions of times

    def take(self, indices: Indices) -> "Paths":
        """The paths at `indices`, in their order."""
        return Paths.of(self.root, (self.name(index) for index in indices.tolist()))

    def __add__(self, other: "Paths") -> "Paths":
        assert self.root == other.root, "paths are put together below one root"
        offsets = np.concatenate([self._offsets, other._offsets[1:] + self._offsets[-1]])
        return Paths(self.root, self._names + other._names, offsets)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts `s2` before `s10`, as people do."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def class_folders(root: Path, passed_over: Counter[str]) -> list[str]:
    """The names of the folders in `root` that can be classes, naturally sorted; all else is counted."""
    names = []
    with os.scandir(root) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                passed_over["hidden or system"] += 1
            elif entry.is_dir():
                names.append(entry.name)
            else:
                passed_over["beside the class folders"] += 1
    return sorted(names, key=natural_key)


def pictures_below(root: Path, folder: str, passed_over: Counter[str]) -> Iterator[str]:
    """The pictures in `root/folder` and the folders in it, as sorted names relative to `root`; all else is counted.

    What counts is the suffix: whether a file can be read is found out when it is.
    """
    yield from _walk(root, folder, passed_over, frozenset())


def _walk(root: Path, folder: str, passed_over: Counter[str], above: frozenset[tuple[int, int]]) -> Iterator[str]:
    where = root / folder
    status = where.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:  # a link to a folder that holds it
        passed_over["links that go round in a circle"] += 1
        return
    files, folders = [], []
    with os.scandir(where) as entries:
        for entry in entries:
            if _is_hidden(entry.name):
                passed_over["hidden or system"] += 1
            elif entry.is_dir():
                folders.append(entry.name)
            elif is_picture(entry.name):
                files.append(entry.name)
            else:
                passed_over["not pictures"] += 1
    prefix = f"{folder}/" if folder else ""
    for name in sorted(files):
        yield prefix + name
    for name in sorted(folders, key=natural_key):
        yield from _walk(root, prefix + name, passed_over, above | {here})


def is_picture(name: str) -> bool:
    """Whether a file of this name would be read as a picture."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 -- a Path for each of a million names is slow


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _SYSTEM_FOLDERS or name in _SYSTEM_FILES
