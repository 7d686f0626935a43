"""Split files: a split as CSV, `path,class,split,reason`, one line per image."""

import csv
import io
import os
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecls.data.listing import SPLITS, ImageList, Paths, natural_key
from facecls.errors import DataError, ImageError
from facecls.files import atomic_file
from facecls.text import plural

_HEADER = ["path", "class", "split", "reason"]
_LISTED = 20  # problems listed in an error; of the others only the number is reported
MISSING_HINT = "if images were removed on purpose: `--set data.on_bad_image=skip`"
_HINT = f"a split file is a CSV such as the split.csv of a run: {','.join(_HEADER)}, with paths below data.root"


def write_split_file(
    path: Path,
    splits: Mapping[str, ImageList],
    classes: Iterable[str],
    skipped: Iterable[tuple[ImageError, str]],
    root: Path,
) -> None:
    """Writes a run's split.csv: every image with its class and split, and the `skipped` images (error, class).

    Paths are relative to `root`, so the file stays valid if the images are moved.
    """
    names = list(classes)
    with atomic_file(path) as raw:
        file = io.TextIOWrapper(raw, encoding="utf-8", errors="surrogateescape", newline="")
        writer = csv.writer(file)
        writer.writerow(_HEADER)
        for split, image_list in splits.items():
            folder = _relative(image_list.paths.root, root)
            for index, label in enumerate(image_list.labels.tolist()):
                writer.writerow((_joined(folder, image_list.paths.name(index)), names[label], split, ""))
        for error, name in skipped:
            writer.writerow((_relative(error.path, root), name, "skipped", error.reason))
        file.detach()  # flushes, and leaves the closing to `atomic_file`


def read_split_file(
    path: Path, root: Path, *, missing_hint: str | None = MISSING_HINT
) -> tuple[tuple[str, ...], dict[str, ImageList]]:
    """The classes in natural order and the splits of a split file; its paths are absolute or relative to `root`.

    Lines of split `skipped` are ignored. Raises DataError that lists all problems. A missing image is a problem, reported with
    the hint `missing_hint`, unless that is None.
    """
    problems: list[str] = []
    rows = list(_rows(path, problems))
    counts = Counter(row.path for row in rows)
    problems += [f"{path}: `{name}` is listed {count} times" for name, count in counts.items() if count > 1]
    trained = {row.class_name for row in rows if row.split == "train"}
    untrained = sorted({row.class_name for row in rows} - trained, key=natural_key)
    problems += [f"{path}: class `{name}` has no image in train" for name in untrained]
    problems += [f"{path}: no image in {split}" for split in ("train", "val") if not any(row.split == split for row in rows)]
    missing = []
    if missing_hint is not None:
        full_paths = ((row.line, os.path.join(root, row.path)) for row in rows)  # noqa: PTH118 -- a Path is slow for millions
        missing = [f"{path}:{line}: {full}: no such file" for line, full in full_paths if not os.path.exists(full)]  # noqa: PTH110
    problems += missing
    if problems:
        more = [f"and {plural(len(problems) - _LISTED, 'more problem')}"] if len(problems) > _LISTED else []
        hint = f"relative paths start from {root}; {missing_hint}" if missing else _HINT
        raise DataError(*problems[:_LISTED], *more, hint=hint)
    classes = tuple(sorted(trained, key=natural_key))
    numbers = {name: number for number, name in enumerate(classes)}
    splits = {}
    for split in SPLITS:
        members = [row for row in rows if row.split == split]
        if members:
            labels = np.array([numbers[row.class_name] for row in members], np.int32)
            splits[split] = ImageList(Paths.of(root, (row.path for row in members)), labels)
    return classes, splits


@dataclass(frozen=True, slots=True)
class _Row:
    line: int
    path: str
    class_name: str
    split: str


def _rows(path: Path, problems: list[str]) -> Iterator[_Row]:
    try:
        # `-sig`: Excel writes a byte order mark
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            absent = [name for name in _HEADER[:3] if name not in (reader.fieldnames or ())]
            if absent:
                raise DataError(f"{path}: has no column {', '.join(f'`{name}`' for name in absent)}", hint=_HINT)
            for row in reader:
                split = row["split"]
                if not row["path"] or not row["class"] or not split:
                    problems.append(f"{path}:{reader.line_num}: path, class or split is empty")
                elif split in SPLITS:
                    yield _Row(reader.line_num, row["path"], row["class"], split)
                elif split != "skipped":
                    problems.append(f"{path}:{reader.line_num}: `{split}` is not a split; the splits are {', '.join(SPLITS)}")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file", hint="set `data.split_file` to a CSV such as the split.csv of a run") from None
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read: {str(reason).lower()}", hint=_HINT) from None


def _relative(path: str, root: Path) -> str:
    """`path` relative to `root` with forward slashes; unchanged if it is not below `root`."""
    try:
        return Path(path).relative_to(root).as_posix()
    except ValueError:
        return path


def _joined(folder: str, name: str) -> str:
    """`folder/name`, with a forward slash on every system, so that the file can be read on another one."""
    return name if folder == "." or os.path.isabs(name) else posixpath.join(folder, name)  # noqa: PTH117
