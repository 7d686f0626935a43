"""Who is train, val and test: seeded, stratified, written down."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from facecls import chance
from facecls.config import SplitConfig
from facecls.errors import DataError, ImageError
from facecls.faces.listing import Indices, Paths


def split_classes(labels: NDArray[np.int32], classes: Sequence[str], split: SplitConfig, where: Path) -> dict[str, Indices]:
    """Shares the pictures of every class out to `train`, `val` and, if asked for, `test`; each index stands in one.

    Every class gives at least one picture to each part; raises DataError for the classes that have too few for that.
    """
    shares = {name: share for name, share in (("val", split.val), ("test", split.test)) if share > 0}
    counts = np.bincount(labels, minlength=len(classes))
    needed = 1 + len(shares)
    few = [number for number, count in enumerate(counts) if count < needed]
    if few:
        raise DataError(
            *(f"{where / classes[n]}: holds {counts[n]} picture{'s' * (counts[n] != 1)}, a split needs {needed}" for n in few),
            hint=f"add pictures, or put the parts into folders yourself: {where / 'train'} and {where / 'val'}",
        )
    parts: dict[str, list[Indices]] = {name: [] for name in ("train", *shares)}
    for number, name in enumerate(classes):
        order = np.random.default_rng(chance.seed_of("split", split.seed, name)).permutation(np.flatnonzero(labels == number))
        for part, share in shares.items():
            held = min(max(1, round(share * counts[number])), len(order) - 1)
            parts[part].append(order[:held])
            order = order[held:]
        parts["train"].append(order)
    return {part: np.sort(np.concatenate(members)) for part, members in parts.items()}


def write_manifest(
    path: Path,
    parts: Mapping[str, tuple[Paths, NDArray[np.int32]]],
    classes: Sequence[str],
    skipped: Iterable[ImageError],
) -> None:
    """Writes a run's split.csv: a line per picture with its class and part, and the skipped ones with their reason."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "class", "split", "reason"])
        for part, (paths, labels) in parts.items():
            writer.writerows((picture, classes[label], part, "") for picture, label in zip(paths, labels.tolist(), strict=True))
        writer.writerows((error.path, Path(error.path).parent.name, "skipped", error.reason) for error in skipped)
