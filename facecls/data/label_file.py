"""Label files: images and their labels as CSV, `path,label`, with the optional columns `split` and `group`."""

import csv
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecls.data.listing import SPLITS, ImageList, Indices, Paths, natural_key
from facecls.errors import DataError
from facecls.text import name_list, plural

REQUIRED, OPTIONAL = ("path", "label"), ("split", "group")
_LISTED = 20  # problems listed in an error; of the others only the number is reported
_HINT = f"a label file is a CSV with the columns {name_list(REQUIRED)}, and if needed {name_list(OPTIONAL)}"


@dataclass(frozen=True)
class LabelFile:
    """The images of a label file, labelled by `classes` in natural order."""

    classes: tuple[str, ...]
    image_list: ImageList
    splits: dict[str, Indices] | None  # the images of each split; None without the column
    groups: Indices | None  # (N,), equal for images of one group; None without the column


def read_label_file(path: Path, root: Path, *, may_be_missing: bool = False) -> LabelFile:
    """Reads a label file; its paths are absolute or relative to `root`.

    Raises DataError that lists all problems: unknown or absent columns, empty values, a path that is listed twice, splits
    with other names than train, val and test, and, unless it `may_be_missing`, an image that does not exist.
    """
    names, rows = _read(path)
    problems, listed = [], defaultdict(list)
    for line, row in rows:
        listed[row["path"]].append(row["label"])
        problems += [f"{path}:{line}: has more values than columns"] if row.get("") else []
        problems += [f"{path}:{line}: {name} is empty" for name in names if name != "group" and not row[name]]
        if "split" in names and row["split"] and row["split"] not in SPLITS:
            problems.append(f"{path}:{line}: `{row['split']}` is not a split; the splits are {', '.join(SPLITS)}")
        full = os.path.join(root, row["path"])  # noqa: PTH118 -- a Path is slow for millions
        if row["path"] and not may_be_missing and not os.path.exists(full):  # noqa: PTH110
            problems.append(f"{path}:{line}: {full}: no such file")
    for image, labels in listed.items():
        if len(set(labels)) > 1:
            problems.append(f"{path}: `{image}` has the labels {name_list(sorted(set(labels)))}")
        elif len(labels) > 1:
            problems.append(f"{path}: `{image}` is listed {len(labels)} times")
    if not rows:
        problems.append(f"{path}: lists no images")
    if problems:
        more = [f"and {plural(len(problems) - _LISTED, 'more problem')}"] if len(problems) > _LISTED else []
        raise DataError(*problems[:_LISTED], *more, hint=f"{_HINT}; relative paths start from {root}")
    classes = tuple(sorted({row["label"] for _, row in rows}, key=natural_key))
    numbers = {name: number for number, name in enumerate(classes)}
    labels_of = np.array([numbers[row["label"]] for _, row in rows], np.int32)
    splits, groups = None, None
    if "split" in names:
        column = np.array([row["split"] for _, row in rows])
        splits = {split: np.flatnonzero(column == split) for split in SPLITS if (column == split).any()}
    if "group" in names:  # an image without a group is its own
        groups = np.unique([row["group"] or f"\0{line}" for line, row in rows], return_inverse=True)[1]
    return LabelFile(classes, ImageList(Paths.of(root, (row["path"] for _, row in rows)), labels_of), splits, groups)


def _read(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns, and each row with its line; values beyond the columns have the key ""."""
    try:
        # `-sig`: Excel writes a byte order mark
        with path.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            reader = csv.DictReader(file, restkey="", restval="")
            names = list(reader.fieldnames or ())
            problems = [f"{path}: has no column `{name}`" for name in REQUIRED if name not in names]
            problems += [f"{path}: `{name}` is not a column" for name in names if name not in (*REQUIRED, *OPTIONAL)]
            if problems:
                raise DataError(*problems, hint=_HINT)
            return names, [(reader.line_num, row) for row in reader]
    except FileNotFoundError:
        hint = "set `data.csv` to a CSV file; a relative path starts from the working directory"
        raise DataError(f"{path}: no such file", hint=hint) from None
    except (OSError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise DataError(f"{path}: cannot be read: {str(reason).lower()}", hint=_HINT) from None
