"""Lists class folders and their images; holds the paths of millions of files in little memory."""

import os
import re
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray

from facecls.errors import DataError
from facecls.faces.decode import SUFFIXES
from facecls.text import name_list

Indices = NDArray[np.int64]
Labels = NDArray[np.int32]  # class numbers

SPLITS = ("train", "val", "test")
SPLIT_FOLDERS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""The names that split folders may have, in any case, and their splits."""

_SYSTEM = {b"__MACOSX", b"@eaDir", b"lost+found", b"$RECYCLE.BIN", b"System Volume Information", b"Thumbs.db", b"desktop.ini"}
_SUFFIXES = frozenset(suffix.encode() for suffix in SUFFIXES)
_COMMON_SUFFIXES = frozenset({b".jpg", b".png", b".JPG", b".bmp"})


class Paths(Sequence[str]):
    """The paths of many files below one root, in one buffer of bytes and one array of offsets.

    A list of str takes some 200 bytes per path; this takes the length of the name and 4 bytes.
    """

    def __init__(self, root: str | os.PathLike[str], names: bytes | bytearray, lengths: Iterable[int]) -> None:
        """`names` are concatenated, each relative to `root` or absolute; `lengths` (N,) are in bytes."""
        self.root = os.fspath(root)
        self._names = names
        counts = lengths if isinstance(lengths, np.ndarray) else np.fromiter(lengths, np.int32)
        self._ends = np.cumsum(counts, dtype=np.uint32 if len(names) < 2**32 else np.uint64)

    @classmethod
    def of(cls, root: str | os.PathLike[str], names: Iterable[str]) -> "Paths":
        """Packs names that are relative to `root` or absolute."""
        encoded = [os.fsencode(name) for name in names]
        return cls(root, b"".join(encoded), map(len, encoded))

    @classmethod
    def below(cls, root: str | os.PathLike[str], folders: Iterable[str], ignored: Counter[str]) -> tuple["Paths", list[int]]:
        """The images in `folders` of `root` and their subfolders, and the number of images in each of `folders`.

        Other entries are counted in `ignored`, by reason.
        """
        names, lengths = bytearray(), array("i")
        counts = []
        for folder in folders:
            before = len(lengths)
            for found in _walk(os.fsencode(root), os.fsencode(folder), ignored, frozenset()):
                names += b"".join(found)
                lengths.extend(map(len, found))
            counts.append(len(lengths) - before)
        return cls(root, names, np.frombuffer(lengths, np.int32)), counts

    def __len__(self) -> int:
        return len(self._ends)

    def name(self, index: int) -> str:
        """The path relative to the root, or the absolute path if one was given."""
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
        return os.path.join(self.root, self.name(index % len(self)))  # noqa: PTH118 -- a Path is slow for millions of names

    def take(self, indices: Indices) -> "Paths":
        """The paths at `indices`, in that order."""
        names = [self._name(index) for index in indices.tolist()]
        return Paths(self.root, b"".join(names), map(len, names))

    def __add__(self, other: "Paths") -> "Paths":
        assert self.root == other.root, "only paths below the same root can be concatenated"
        lengths = np.concatenate([np.diff(paths._ends, prepend=0) for paths in (self, other)])
        return Paths(self.root, bytes(self._names) + bytes(other._names), lengths)


@dataclass(frozen=True)
class ImageList:
    """The paths and class numbers of some images, not yet decoded."""

    paths: Paths
    labels: Labels  # (N,)

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Indices) -> "ImageList":
        return ImageList(self.paths.take(indices), self.labels[indices])


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sort key of the natural order: `s2` before `s10`; `01` and `1` differ."""
    tokens = [token for token in re.split(r"(\d+)", name) if token]
    return [(int(token), "") if token.isdecimal() else (-1, token) for token in tokens], name


def class_folders(root: Path, ignored: Counter[str]) -> list[str]:
    """The names of the class folders in `root` in natural order; other entries are counted in `ignored`, by reason.

    Raises DataError if `root` cannot be read.
    """
    names = []
    for entry in _entries(os.fsencode(root)):
        if entry.name.startswith(b".") or entry.name in _SYSTEM:
            ignored["hidden or system"] += 1
        elif _is_folder(entry):
            names.append(os.fsdecode(entry.name))
        else:
            ignored["outside the class folders"] += 1
    return sorted(names, key=natural_key)


def images_below(root: Path, folder: str, ignored: Counter[str]) -> Iterator[str]:
    """The images in `root/folder` and its subfolders, as sorted names relative to `root`.

    An image is recognised by its suffix; other entries are counted in `ignored`, by reason. Raises DataError if a folder
    cannot be read; a subfolder that is deleted before it is opened counts as empty.
    """
    for names in _walk(os.fsencode(root), os.fsencode(folder), ignored, frozenset()):
        yield from map(os.fsdecode, names)


def _walk(root: bytes, folder: bytes, ignored: Counter[str], ancestors: frozenset[tuple[int, int]]) -> Iterator[list[bytes]]:
    """The names of the images of one folder after another, as bytes: decoding a million names takes a while."""
    where = os.path.join(root, folder)  # noqa: PTH118
    entries = _entries(where, may_be_gone=bool(ancestors))
    # Fast path: in most folders all entries have a common suffix, and need no further checks.
    files = [
        name
        for entry in entries
        if (name := entry.name)[-4:] in _COMMON_SUFFIXES and not name.startswith(b".") and not _is_folder(entry)
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
        ignored["hidden or system"] += hidden
    if others:
        ignored["not an image"] += others
    prefix = folder + b"/" if folder else b""
    files.sort()
    yield [prefix + name for name in files]
    if not folders:
        return
    ancestors |= _identity(where)
    for name in sorted(folders, key=lambda name: natural_key(os.fsdecode(name))):
        if _identity(os.path.join(where, name)) & ancestors:  # noqa: PTH118
            ignored["circular link"] += 1
        else:
            yield from _walk(root, prefix + name, ignored, ancestors)


def _identity(folder: bytes) -> frozenset[tuple[int, int]]:
    """The device and inode of a folder; empty if it is gone or may not be accessed."""
    try:
        status = os.stat(folder)  # noqa: PTH116
    except (FileNotFoundError, PermissionError):  # reading the folder raises the error, if it matters
        return frozenset()
    return frozenset({(status.st_dev, status.st_ino)})


def _is_folder(entry: "os.DirEntry[bytes]") -> bool:
    """Whether the entry is a folder or a link to one; False for a link that cannot be followed."""
    try:
        return entry.is_dir()
    except OSError:  # if its suffix is that of an image, decoding it reports the reason
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
            f"{Path(os.fsdecode(folder))}: cannot be read: {reason}", hint="check the permissions of the folder"
        ) from None


def require_folder(folder: Path, hint: str | None = None) -> Path:
    """Returns `folder`; raises DataError, with `hint` if given, if it is missing or not a folder."""
    if folder.is_dir():
        return folder
    if folder.exists():
        raise DataError(f"{folder}: is a file, not a folder", hint=hint or "name the folder that contains the class folders")
    where = f" in {Path.cwd()}" if not folder.is_absolute() else ""
    raise DataError(f"{folder}: no such folder{where}", hint=hint or "`facecls demo-faces DIR` draws synthetic faces to try")


def split_folders(root: Path) -> dict[str, Path]:
    """The split folders of `root` by split; empty if its folders are classes, one of which may be called `val` or `test`.

    Raises DataError if `root` is not a folder, has two folders for one split (`val` and `valid`), split folders but none for
    `train`, or split folders beside other folders of images.
    """
    found: dict[str, Path] = {}
    others = []
    for name in class_folders(require_folder(root), Counter()):
        split = SPLIT_FOLDERS.get(name.lower())
        if split is None:
            others.append(name)
        elif split in found:
            raise DataError(f"{root}: has both `{found[split].name}` and `{name}`", hint="keep one of them")
        else:
            found[split] = root / name
    if "train" not in found and len(found) < 2 and (others or not found):
        return {}
    names = name_list(path.name for path in found.values())
    if "train" not in found:
        raise DataError(
            f"{root}: has no `train` folder, but {names}",
            hint=f"move the images to train on into {root / 'train'}; if all folders are classes, rename these",
        )
    others = [name for name in others if next(images_below(root, name, Counter()), None) is not None]
    if others:
        raise DataError(
            f"{root}: has split folders ({names}) and other folders of images ({name_list(others)})",
            hint=f"move the other folders elsewhere, or set `data.root` to {found['train']}; "
            "if all folders are classes, rename the first",
        )
    return found


def has_train_folder(root: Path) -> bool:
    """Whether a folder in `root` has a name of the split `train`."""
    return any(SPLIT_FOLDERS.get(name.lower()) == "train" for name in class_folders(root, Counter()))
