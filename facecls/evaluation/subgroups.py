"""Accuracy by subgroup, such as an age band or a camera, which a CSV file assigns to images or classes."""

import csv
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facecls.data.listing import ImageList
from facecls.errors import DataError
from facecls.evaluation.intervals import wilson_interval
from facecls.open_set.temperature import Ints

_HINT = "the first line is `path,group` or `class,group`; each further line assigns one image or one class to a group"


def read_subgroups(file: Path, image_list: ImageList, classes: Sequence[str]) -> list[str | None]:
    """The group of each image; None for an image that the file does not list.

    A path is absolute, or relative to the folder of the classes, to the file's folder, or to the current folder.
    Raises DataError if the file is missing, lacks a column, or lists none of the images or classes.
    """
    column, table = _read(file)
    if column == "class":
        names = [table.get(classes[label]) for label in image_list.labels.tolist()]
    else:
        for name, group in list(table.items()):
            table[_full(name)] = table[_full(file.parent / name)] = group
        paths = image_list.paths
        names = [table.get(paths.name(n)) or table.get(_full(paths[n])) for n in range(len(paths))]
    if not any(names):
        raise DataError(f"{file}: lists no {'class' if column == 'class' else 'image'} that is evaluated", hint=_HINT)
    return names


def _full(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 -- Path.resolve would follow symbolic links


def _read(file: Path) -> tuple[str, dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = csv.DictReader(opened)
            columns = rows.fieldnames or []
            column = next((name for name in ("path", "class") if name in columns), None)
            if column is None or "group" not in columns:
                raise DataError(f"{file}: lacks the columns `path` or `class`, and `group`", hint=_HINT)
            return column, {row[column]: row["group"] for row in rows if row[column] and row["group"]}
    except FileNotFoundError:
        raise DataError(f"{file}: no such file", hint=_HINT) from None
    except (UnicodeDecodeError, csv.Error, OSError):
        raise DataError(f"{file}: is not a CSV file", hint=_HINT) from None


@dataclass(frozen=True)
class SubgroupMetrics:
    """Accuracy of one group of images."""

    group: str
    n: int
    accuracy: float
    interval: tuple[float, float]  # 95 % (Wilson)


@dataclass(frozen=True)
class SubgroupResult:
    """Accuracy by group, sorted by the names of the groups."""

    groups: tuple[SubgroupMetrics, ...]
    gap: float  # accuracy of the best group minus that of the worst
    best: str
    worst: str

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"groups": [asdict(each) | {"interval": list(each.interval)} for each in self.groups]}


def subgroup_metrics(labels: Ints, predictions: Ints, groups: Sequence[str]) -> SubgroupResult:
    """Accuracy of (N,) predictions by group, and the largest gap between groups.

    `groups` holds the group of each of the N images, N at least 1. A gap between small groups may be noise: compare the
    intervals.
    """
    assert len(labels) == len(predictions) == len(groups) > 0
    names, members = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    counts = np.bincount(members)
    correct = np.bincount(members, weights=labels == predictions).astype(int)
    by_group = tuple(
        SubgroupMetrics(str(name), int(n), float(k / n), wilson_interval(int(k), int(n)))
        for name, n, k in zip(names, counts, correct, strict=True)
    )
    best, worst = max(by_group, key=lambda each: each.accuracy), min(by_group, key=lambda each: each.accuracy)
    return SubgroupResult(by_group, best.accuracy - worst.accuracy, best.group, worst.group)
