"""Which group an image belongs to, such as an age band or a camera: a CSV file that names it by image or by class."""

import csv
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from facecls.data.listing import ImageList
from facecls.errors import DataError
from facecls.evaluation.intervals import wilson
from facecls.open_set.temperature import Ints

_HINT = "its first line is `path,group` or `class,group`, and each further line names one image or one class"


def read_subgroups(file: Path, image_list: ImageList, classes: Sequence[str]) -> list[str | None]:
    """The group of each image; None for one that the file says nothing of.

    A path is a full one, or relative to the folder that holds the classes, to the file, or to the current folder.
    Raises DataError for a file that is missing or has no such columns, and where it names no image or class that is there.
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
        raise DataError(f"{file}: names no {'class' if column == 'class' else 'image'} that is scored", hint=_HINT)
    return names


def _full(path: str | Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 -- links stay links: what they point at may have another name


def _read(file: Path) -> tuple[str, dict[str, str]]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            rows = csv.DictReader(opened)
            columns = rows.fieldnames or []
            column = next((name for name in ("path", "class") if name in columns), None)
            if column is None or "group" not in columns:
                raise DataError(f"{file}: has no columns `path` or `class`, and `group`", hint=_HINT)
            return column, {row[column]: row["group"] for row in rows if row[column] and row["group"]}
    except FileNotFoundError:
        raise DataError(f"{file}: no such file", hint=_HINT) from None
    except (UnicodeDecodeError, csv.Error, OSError):
        raise DataError(f"{file}: is not a CSV file", hint=_HINT) from None


@dataclass(frozen=True)
class SubgroupMetrics:
    """Accuracy in one group of images, with Wilson's 95 % interval."""

    group: str
    n: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class SubgroupResult:
    """Accuracy by group, in the order of the groups' names."""

    groups: tuple[SubgroupMetrics, ...]
    gap: float  # accuracy of the best group less that of the worst
    best: str
    worst: str

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        groups = [asdict(each) | {"interval": list(each.interval)} for each in self.groups]
        return asdict(self) | {"groups": groups}


def subgroup_metrics(labels: Ints, predictions: Ints, groups: Sequence[str]) -> SubgroupResult:
    """Accuracy of (N,) predictions for each group of images, such as an age band or a camera, and the largest gap.

    `groups` names the group of each of the N images, N at least 1. The gap of small groups is mostly chance: see
    whether their intervals overlap.
    """
    assert len(labels) == len(predictions) == len(groups) > 0
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    counts = np.bincount(member)
    right = np.bincount(member, weights=labels == predictions).astype(int)
    scores = tuple(
        SubgroupMetrics(str(name), int(n), float(k / n), wilson(int(k), int(n)))
        for name, n, k in zip(names, counts, right, strict=True)
    )
    best, worst = max(scores, key=lambda each: each.accuracy), min(scores, key=lambda each: each.accuracy)
    return SubgroupResult(scores, best.accuracy - worst.accuracy, best.group, worst.group)
