"""A split written down: `path,class,split,reason`, a line per image."""

import csv
import io
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facecls.data.listing import Paths, natural_key
from facecls.errors import DataError, ImageError
from facecls.files import atomic_file

AuditedImages = tuple[Paths, NDArray[np.int32]]  # with their class numbers

PARTS = ("train", "val", "test")

_HEADER = ["path", "class", "split", "reason"]
_LISTED = 20  # mistakes named in an error before the rest are only counted
GONE = "where images were taken out on purpose: --set data.on_bad_image=skip"
_HINT = f"a split file is a CSV as a run writes it: {','.join(_HEADER)}, with paths below data.root"


def write_split_file(
    path: Path,
    splits: Mapping[str, AuditedImages],
    classes: Iterable[str],
    skipped: Iterable[tuple[ImageError, str]],
    root: Path,
) -> None:
    """Writes a run's split.csv: each image with its class and part, and the skipped ones, given with their class.

    Paths are relative to `root`, so that the file still holds when the images have been moved.
    """
    names = list(classes)
    with atomic_file(path) as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        for split, (paths, labels) in splits.items():
            below = _relative(paths.root, root)
            for index, label in enumerate(labels.tolist()):
                writer.writerow((_joined(below, paths.name(index)), names[label], split, ""))
        for error, name in skipped:
            writer.writerow((_relative(error.path, root), name, "skipped", error.reason))
        file.detach()  # which writes what is left, and leaves the closing to `atomic_file`


def read_split_file(path: Path, root: Path, *, gone: str | None = GONE) -> tuple[tuple[str, ...], dict[str, AuditedImages]]:
    """The classes, in natural order, and the parts that a split file names; its paths are absolute or relative to `root`.

    Lines of other parts (`skipped`) are passed over. Raises DataError with every mistake at once. That an image is gone is
    one, with the hint `gone`; with None it is none.
    """
    problems: list[str] = []
    rows = list(_rows(path, problems))
    seen = Counter(row.path for row in rows)
    problems += [f"{path}: `{name}` stands {count} times" for name, count in seen.items() if count > 1]
    trained = {row.kind for row in rows if row.split == "train"}
    foreign = sorted({row.kind for row in rows} - trained, key=natural_key)
    problems += [f"{path}: class `{name}` has no image in train" for name in foreign]
    problems += [
        f"{path}: has no image in {split}" for split in ("train", "val") if not any(row.split == split for row in rows)
    ]
    missing = [row for row in rows if gone is not None and not os.path.exists(os.path.join(root, row.path))]  # noqa: PTH110, PTH118
    problems += [f"{path}:{row.line}: {os.path.join(root, row.path)}: no such file" for row in missing]  # noqa: PTH118
    if problems:
        more = [f"and {len(problems) - _LISTED} more mistakes"] if len(problems) > _LISTED else []
        raise DataError(*problems[:_LISTED], *more, hint=f"relative paths start from {root}; {gone}" if missing else _HINT)
    classes = tuple(sorted(trained, key=lambda name: (natural_key(name), name)))
    numbers = {name: number for number, name in enumerate(classes)}
    splits = {}
    for split in PARTS:
        members = [row for row in rows if row.split == split]
        if members:
            labels = np.array([numbers[row.kind] for row in members], np.int32)
            splits[split] = (Paths.of(root, (row.path for row in members)), labels)
    return classes, splits


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    path: str
    kind: str
    split: str


def _rows(path: Path, problems: list[str]) -> Iterator[_Row]:
    try:
        # `-sig`, because Excel begins a file with a byte order mark
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in _HEADER[:3] if name not in (reader.fieldnames or ())]
            if lacking:
                raise DataError(f"{path}: has no column {', '.join(f'`{name}`' for name in lacking)}", hint=_HINT)
            for row in reader:
                split = row["split"]
                if not row["path"] or not row["class"] or not split:
                    problems.append(f"{path}:{reader.line_num}: names no path, class or split")
                elif split in PARTS:
                    yield _Row(reader.line_num, row["path"], row["class"], split)
                elif split != "skipped":
                    problems.append(f"{path}:{reader.line_num}: `{split}` is not a part, the parts are {', '.join(PARTS)}")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", hint="data.split_file names a CSV such as a run's split.csv") from None
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read: {str(reason).lower()}", hint=_HINT) from None


def _relative(path: str, root: Path) -> str:
    """`path` below `root` with forward slashes, or as it is where it lies elsewhere."""
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        return path


def _joined(below: str, name: str) -> str:
    """With a forward slash on every system, so that another one finds the image, too."""
    return name if below == "." or os.path.isabs(name) else posixpath.join(below, name)  # noqa: PTH117 -- millions of times
