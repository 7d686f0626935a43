"""Which images lie in a folder: the names of many files in few bytes, and what was passed over."""

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from facecls.errors import DataError
from facecls.faces.decode import SUFFIXES

Indices = NDArray[np.int64]

_SYSTEM = {b"__MACOSX", b"@eaDir", b"lost+found", b"$RECYCLE.BIN", b"System Volume Information", b"Thumbs.db", b"desktop.ini"}
_SUFFIXES = frozenset(suffix.encode() for suffix in SUFFIXES)
_COMMON = frozenset({b".jpg", b".png", b".JPG", b".bmp"})


class Paths(Sequence[str]):
    """The paths of many files below one root, kept as one buffer of bytes and one array of offsets.

    A list of a million paths takes some 200 bytes for each; this takes the name's length and 4 more.
    """

    def __init__(self, root: str | os.PathLike[str], names: bytes | bytearray, lengths: Iterable[int]) -> None:
        """`names` stand one after the other, relative to `root` or absolute; `lengths` (N,) are theirs in bytes."""
        self.root = os.fspath(root)
        self._names = names
        counts = lengths if isinstance(lengths, np.ndarray) else np.fromiter(lengths, np.int32)
        self._ends = np.cumsum(counts, dtype=np.uint32 if len(names) < 2**32 else np.uint64)

    @classmethod
    def of(cls, root: str | os.PathLike[str], names: Iterable[str]) -> "Paths":
        """Packs names that are relative to `root`, or absolute."""
        encoded = [os.fsencode(name) for name in names]
        return cls(root, b"".join(encoded), map(len, encoded))

    @classmethod
    def below(
        cls, root: str | os.PathLike[str], folders: Iterable[str], passed_over: Counter[str]
    ) -> tuple["Paths", list[int]]:
        """The images below each of `folders`, which lie in `root`, and how many each holds; all else is counted."""
        names, lengths = bytearray(), array("i")
        counts = []
        for folder in folders:
            before = len(lengths)
            for found in _walk(os.fsencode(root), os.fsencode(folder), passed_over, frozenset()):
                names += b"".join(found)
                lengths.extend(map(len, found))
            counts.append(len(lengths) - before)
        return cls(root, names, np.frombuffer(lengths, np.int32)), counts

    def __len__(self) -> int:
        return len(self._ends)

    def name(self, index: int) -> str:
        """The path relative to the root, or the absolute one that was given."""
        return os.fsdecode(self._name(index))

    def _name(self, index: int) -> bytes:
        return bytes(self._names[int(self._ends[index - 1]) if index else 0 : int(self._ends[index])])

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
        names = [self._name(index) for index in indices.tolist()]
        return Paths(self.root, b"".join(names), map(len, names))

    def __add__(self, other: "Paths") -> "Paths":
        assert self.root == other.root, "paths are put together below one root"
        lengths = np.concatenate([np.diff(paths._ends, prepend=0) for paths in (self, other)])
        return Paths(self.root, bytes(self._names) + bytes(other._names), lengths)


def natural_key(name: str) -> list[tuple[int, str]]:
    """Sorts `s2` before `s10`, as people do."""
    return [(int(split), "") if split.isdecimal() else (-1, split) for split in re.split(r"(\d+)", name) if split]


def class_folders(root: Path, passed_over: Counter[str]) -> list[str]:
    """The names of the folders in `root` that can be classes, naturally sorted; all else is counted.

    Raises DataError where `root` cannot be read.
    """
    names = []
    for entry in _entries(os.fsencode(root)):
        if entry.name.startswith(b".") or entry.name in _SYSTEM:
            passed_over["hidden or system"] += 1
        elif _is_folder(entry):
            names.append(os.fsdecode(entry.name))
        else:
            passed_over["beside the class folders"] += 1
    return sorted(names, key=_naturally)


def images_below(root: Path, folder: str, passed_over: Counter[str]) -> Iterator[str]:
    """The images in `root/folder` and the folders in it, as sorted names relative to `root`; all else is counted.

    What counts is the suffix: whether a file can be read is found out when it is. Raises DataError for a folder that
    cannot be read; one in `folder` that is gone by the time it is opened holds no images.
    """
    for names in _walk(os.fsencode(root), os.fsencode(folder), passed_over, frozenset()):
        yield from map(os.fsdecode, names)


def _walk(root: bytes, folder: bytes, passed_over: Counter[str], above: frozenset[tuple[int, int]]) -> Iterator[list[bytes]]:
    """The names of the images of one folder after the other; bytes, because a million names are not decoded for nothing."""
    where = os.path.join(root, folder)  # noqa: PTH118
    entries = _entries(where, may_be_gone=bool(above))
    # Nearly every entry of nearly every folder is one of these, and then nothing more has to be asked.
    files = [
        name
        for entry in entries
        if (name := entry.name)[-4:] in _COMMON and not name.startswith(b".") and not _is_folder(entry)
    ]
    folders, hidden, others = [], 0, 0
    if len(files) < len(entries):
        files = []
        for entry in entries:
            name = entry.name
            if name.startswith(b".") or name in _SYSTEM:
                hidden += 1
            elif _is_folder(entry):
                folders.append(name)
            elif name[name.rfind(b".") :].lower() in _SUFFIXES:
                files.append(name)
            else:
                others += 1
    if hidden:
        passed_over["hidden or system"] += hidden
    if others:
        passed_over["not images"] += others
    prefix = folder + b"/" if folder else b""
    files.sort()
    yield [prefix + name for name in files]
    if not folders:
        return
    above |= _identity(where)
    for name in sorted(folders, key=lambda name: _naturally(os.fsdecode(name))):
        if _identity(os.path.join(where, name)) & above:  # noqa: PTH118 -- a link to a folder that holds it
            passed_over["links that go round in a circle"] += 1
        else:
            yield from _walk(root, prefix + name, passed_over, above)


def _identity(folder: bytes) -> frozenset[tuple[int, int]]:
    """What tells a folder from all others, whatever its path; nothing where it is gone or may not be asked."""
    try:
        status = os.stat(folder)  # noqa: PTH116
    except (FileNotFoundError, PermissionError):  # the walk goes on, and says so where it cannot
        return frozenset()
    return frozenset({(status.st_dev, status.st_ino)})


def _is_folder(entry: "os.DirEntry[bytes]") -> bool:
    """Whether it is a folder, or a link to one; one that cannot be followed is none, as one that leads nowhere is."""
    try:
        return entry.is_dir()
    except OSError:  # if it has an image's name, reading it will name the reason
        return False


def _entries(folder: bytes, *, may_be_gone: bool = False) -> list["os.DirEntry[bytes]"]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        if may_be_gone and isinstance(error, FileNotFoundError | NotADirectoryError):
            return []
        reason = str(error.strerror).lower()
        raise DataError(
            f"{Path(os.fsdecode(folder))}: cannot be read: {reason}", hint="may this account read the folder?"
        ) from None


def _naturally(name: str) -> tuple[list[tuple[int, str]], str]:
    return natural_key(name), name  # `1` and `01` have one natural key


def is_image(name: str) -> bool:
    """Whether a file of this name would be read as an image."""
    return os.path.splitext(name)[1].lower() in SUFFIXES  # noqa: PTH122 -- a Path for each of a million names is slow


PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def existing_folder(folder: Path, hint: str | None = None) -> Path:
    """`folder`, if it is one; raises DataError, with `hint` where it is given, where it is missing or a file."""
    if folder.is_dir():
        return folder
    if folder.exists():
        raise DataError(
            f"{folder}: is a file, not a folder of faces", hint=hint or "name the folder that holds the class folders"
        )
    here = f" below {Path.cwd()}" if not folder.is_absolute() else ""
    raise DataError(f"{folder}: no such folder{here}", hint=hint or "`facecls demo-faces DIR` draws faces to try things with")


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of `root` that are parts, by their name among train, val and test; empty where `root` holds classes.

    Raises DataError for a part that stands there twice (`val` and `valid`), or without `train`.
    """
    found: dict[str, Path] = {}
    for name, split in PARTS.items():
        if (existing_folder(root) / name).is_dir():
            if split in found:
                raise DataError(f"{root}: holds both `{found[split].name}` and `{name}`", hint="keep one of them")
            found[split] = root / name
    if "train" not in found:
        # A folder of classes may well have one that is called `test`.
        return {}
    return found
