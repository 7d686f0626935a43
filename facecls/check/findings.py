"""Findings of a data set audit, and the images they are about."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from facecls.data.detections import Detections
from facecls.data.duplicates.image_stats import ImageStats
from facecls.text import printable

Severity = Literal["error", "warning", "info"]
"""error: training fails or its metrics are wrong; warning: worth fixing; info: worth knowing."""

SplitsFrom = Literal["folders", "file", "groups", "images"]
"""Where the splits come from: folders, a split file, or a draw of groups of near-duplicates or of single images."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True)
class Item:
    """One entry of a finding: an image, a set of copies, or a class (no images, its name in `note`)."""

    images: tuple[int, ...]  # indices into AuditedImages
    note: str = ""


@dataclass(frozen=True)
class Finding:
    """A problem or a noteworthy property of a data set."""

    kind: str
    severity: Severity
    message: str
    fix: str
    items: tuple[Item, ...] = ()


@dataclass(frozen=True)
class AuditedImages:
    """The N images of all splits of a data set, with their statistics."""

    root: Path
    paths: list[str]
    labels: NDArray[np.int32]  # (N,)
    splits: NDArray[np.int32]  # (N,) indices into `split_names`
    split_names: tuple[str, ...]
    splits_from: SplitsFrom
    classes: tuple[str, ...]
    stats: ImageStats
    detections: Detections | None = None  # with `data.faces: detect`

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def readable(self) -> NDArray[np.bool_]:
        """Which images can be decoded, (N,)."""
        return self.column("readable").astype(bool)

    def column(self, field: str) -> NDArray[Any]:
        """A column of the image statistics, (N,)."""
        return np.asarray(self.stats.table[field])

    def path_of(self, image: int) -> str:
        """The path relative to `root`, with unprintable characters escaped."""
        return printable(self.paths[image].removeprefix(f"{self.root}/"))

    def item_text(self, item: Item, most: int = 3) -> str:
        """The first `most` paths of an item, how many more there are, and its note."""
        paths = ", ".join(map(self.path_of, item.images[:most]))
        if len(item.images) > most:
            paths += f" and {len(item.images) - most:,} more"
        return f"{paths} ({item.note})" if paths and item.note else paths or item.note

    def row(self, image: int) -> dict[str, str]:
        """Path, class and split for JSON and CSV."""
        return {"path": self.paths[image], "class": self.class_of(image), "split": self.split_of(image)}

    def class_of(self, image: int) -> str:
        return self.classes[int(self.labels[image])]

    def split_of(self, image: int) -> str:
        return self.split_names[int(self.splits[image])]

    def class_counts(self, split: str) -> NDArray[np.int64]:
        """The number of images of each class in a split, (C,)."""
        members = self.splits == self.split_names.index(split)
        return np.bincount(self.labels[members], minlength=len(self.classes))
