"""Open-set scores: higher for images of known classes than for impostors.

Needs numpy only.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facecls.errors import DataError
from facecls.open_set.outputs import Outputs
from facecls.open_set.temperature import Floats, Ints

ScoreKind: TypeAlias = Literal["centroid", "neighbours", "probability", "energy"]

SCORES: dict[ScoreKind, str] = {
    "centroid": "cosine to class centroid",
    "neighbours": "cosine to nearest training images",
    "probability": "log-odds of largest probability",
    "energy": "negative energy",
}
COSINES = 2**24  # computed at a time, which bounds the memory
NEIGHBOURS = 3  # nearest training images, whose cosines are averaged
PER_CLASS = 50  # training images of a class that are enrolled for the score `neighbours`
_DIGITS = 6  # decimals of a score: further ones depend on the batch size


@dataclass(frozen=True)
class Gallery:
    """Enrolled vectors that features are compared with: class centroids, or training images."""

    vectors: NDArray[np.float32]  # (R, F), unit length, exact in float16
    labels: NDArray[np.int32]  # (R,), class numbers
    neighbours: int  # number of largest cosines that are averaged


def enrol(kind: ScoreKind, features: Floats, labels: Ints, classes: Sequence[str]) -> Gallery | None:
    """The gallery for a kind of score, of training images' (N, F) features and (N,) class numbers; None if it needs none.

    Raises DataError naming the classes that have no image.
    """
    if kind == "centroid":
        return Gallery(_half_precision(class_centroids(features, labels, classes)), np.arange(len(classes), dtype=np.int32), 1)
    if kind == "neighbours":
        # Evenly spaced within a class: consecutive images often show the same moment.
        chosen = np.sort(np.concatenate([own[_evenly(len(own), PER_CLASS)] for own in _members(labels, classes)]))
        return Gallery(_half_precision(_unit(features[chosen])), labels[chosen].astype(np.int32), NEIGHBOURS)
    return None


def open_set_scores(kind: ScoreKind, outputs: Outputs, gallery: Gallery | None) -> NDArray[np.float64]:
    """The score of one kind for N images, (N,); higher means more likely of a known class."""
    if kind in ("centroid", "neighbours"):
        assert gallery is not None
        scores = nearest_cosine(outputs.features, gallery)
    else:
        scores = log_odds(outputs.logits) if kind == "probability" else energy(outputs.logits)
    return np.asarray(scores.round(_DIGITS))


def nearest_cosine(features: Floats, gallery: Gallery) -> NDArray[np.float64]:
    """The mean of the largest cosines between each of (N, F) features and a gallery, (N,) in [-1, 1].

    The number averaged is `gallery.neighbours`, or the number of vectors of the smallest class if that is smaller, so
    that small classes are not at a disadvantage.
    """
    count = min(gallery.neighbours, int(np.bincount(gallery.labels)[np.unique(gallery.labels)].min()))
    rows = max(1, COSINES // len(gallery.vectors))
    blocks = []
    for start in range(0, max(len(features), 1), rows):
        cosines = _product(_unit(features[start : start + rows]).astype(np.float32), gallery.vectors)
        blocks.append(np.partition(cosines, -count, axis=1)[:, -count:].mean(axis=1, dtype=np.float64))
    return np.concatenate(blocks)


def _product(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    """left @ right.T of (N, F) and (R, F): (N, R)."""
    # By torch if it is loaded: numpy's BLAS starts its own threads, which keep spinning after each product and slow the
    # workers of `predict` on the same cores by a quarter. Torch is not imported for this alone.
    torch = sys.modules.get("torch")
    if torch is None:
        return np.asarray(left @ right.T)
    return np.asarray((torch.from_numpy(left) @ torch.from_numpy(right).T).numpy())


def class_centroids(features: Floats, labels: Ints, classes: Sequence[str]) -> NDArray[np.float64]:
    """Class centroids (C, F): the mean of each class's unit-length features, scaled to unit length again.

    `features` are (N, F) of training images, `labels` their (N,) class numbers, `classes` the C names.
    Raises DataError naming the classes that have no image.
    """
    return _unit(np.stack([_unit(features[own]).mean(axis=0) for own in _members(labels, classes)]))


def log_odds(logits: Floats) -> NDArray[np.float64]:
    """log p - log(1 - p) of the largest softmax probability p of (N, C) logits, (N,).

    It ranks images as p does (Hendrycks and Gimpel 2017, arXiv:1610.02136), even where p rounds to 1.
    """
    ordered = np.sort(np.asarray(logits, dtype=np.float64), axis=1)
    return np.asarray(ordered[:, -1] - energy(ordered[:, :-1]))


def energy(logits: Floats) -> NDArray[np.float64]:
    """logsumexp of (N, C) logits, (N,): the negative of the energy of Liu et al. (2020, arXiv:2010.03759)."""
    logits = np.asarray(logits, dtype=np.float64)
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    """Up to `most` evenly spaced numbers from 0 to n - 1."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)


def _members(labels: Ints, classes: Sequence[str]) -> list[NDArray[np.int64]]:
    """The indices of each class's images; raises DataError if a class has none."""
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            *(f"unknown.score: class `{name}` has no training image to compare with" for name in empty),
            hint="the scores `probability` and `energy` need none",
        )
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1])


def _half_precision(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return vectors.astype(np.float16).astype(np.float32)


def _unit(vectors: Any) -> NDArray[np.float64]:
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))
