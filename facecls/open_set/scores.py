"""Is this one of ours: scores that are higher for the known than for strangers."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from facecls.errors import DataError
from facecls.open_set.outputs import Outputs
from facecls.open_set.temperature import Floats, Ints

ScoreKind: TypeAlias = Literal["centroid", "neighbours", "probability", "energy"]

SCORES: dict[ScoreKind, str] = {
    "centroid": "cosine with the nearest class",
    "neighbours": "cosine with the nearest training images",
    "probability": "log-odds of the largest probability, uncalibrated",
    "energy": "negative energy",
}
COSINES = 2**24  # at a time, to bound the memory: images times what they are compared with
NEAREST = 3  # neighbours whose cosines are averaged
PER_CLASS = 50  # images of a class among which neighbours are looked for
_DIGITS = 6  # what is left of a score: more would differ with how many images are computed at once


@dataclass(frozen=True)
class Gallery:
    """What images are compared with: centroids of classes, or training images."""

    vectors: NDArray[np.float32]  # (R, F) of unit length; float16 holds them exactly
    labels: NDArray[np.int32]  # (R,) the class of each
    nearest: int  # so many cosines are averaged


def enrol(kind: ScoreKind, features: Floats, labels: Ints, classes: Sequence[str]) -> Gallery | None:
    """The gallery of a kind of score, from training images' (N, F) features and (N,) class numbers; None if it needs none.

    Raises DataError naming the classes that have no image.
    """
    if kind == "centroid":
        return Gallery(_short(class_centroids(features, labels, classes)), np.arange(len(classes), dtype=np.int32), 1)
    if kind == "neighbours":
        _refuse_empty(labels, classes)
        order = np.argsort(labels, kind="stable")
        members = np.split(order, np.cumsum(np.bincount(labels))[:-1])
        # Evenly through a class: images that follow one another are often of one moment.
        chosen = np.sort(np.concatenate([some[_evenly(len(some), PER_CLASS)] for some in members]))
        return Gallery(_short(_unit(features[chosen])), labels[chosen].astype(np.int32), NEAREST)
    return None


def known_scores(kind: ScoreKind, outputs: Outputs, gallery: Gallery | None) -> NDArray[np.float64]:
    """The score of one kind for N images, (N,)."""
    if kind in ("centroid", "neighbours"):
        assert gallery is not None
        scores = nearest(outputs.features, gallery)
    else:
        scores = log_odds(outputs.logits) if kind == "probability" else energy(outputs.logits)
    return np.asarray(scores.round(_DIGITS))


def nearest(features: Floats, gallery: Gallery) -> NDArray[np.float64]:
    """The mean cosine of each of (N, F) features with the nearest of a gallery, (N,) in [-1, 1].

    A class with fewer images than are averaged is not at a disadvantage: at most as many are as the smallest class has.
    """
    count = min(gallery.nearest, int(np.bincount(gallery.labels)[np.unique(gallery.labels)].min()))
    blocks = []
    rows = max(1, COSINES // len(gallery.vectors))
    for start in range(0, max(len(features), 1), rows):
        block = slice(start, start + rows)
        # By torch, which keeps to the threads that it is given: numpy's library starts its own, and they go on turning
        # for a while after each product, which took a quarter of predict's speed.
        short = torch.from_numpy(_unit(features[block]).astype(np.float32))
        cosines = (short @ torch.from_numpy(gallery.vectors).T).numpy()
        top = np.partition(cosines, -count, axis=1)[:, -count:]
        blocks.append(top.mean(axis=1, dtype=np.float64))
    return np.concatenate(blocks)


def class_centroids(features: Floats, labels: Ints, classes: Sequence[str]) -> NDArray[np.float64]:
    """The direction of each class, (C, F): the mean of its unit-length features, again at unit length.

    `features` are (N, F) of training images, `labels` their (N,) class numbers, `classes` the C names.
    Raises DataError naming the classes that have no image.
    """
    _refuse_empty(labels, classes)
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(len(classes) + 1))
    return _unit(np.stack([_unit(features[order[start:end]]).mean(axis=0) for start, end in pairwise(bounds)]))


def log_odds(logits: Floats) -> NDArray[np.float64]:
    """log p - log(1 - p) of the largest softmax probability p of (N, C) logits, (N,).

    It ranks as p itself does (Hendrycks and Gimpel, arXiv:1610.02136), also where p is 1 in all digits that it has.
    """
    ordered = np.sort(np.asarray(logits, dtype=np.float64), axis=1)
    return np.asarray(ordered[:, -1] - energy(ordered[:, :-1]))


def energy(logits: Floats) -> NDArray[np.float64]:
    """The log of the sum of the exponentials of (N, C) logits, (N,): minus Liu et al.'s energy (arXiv:2010.03759)."""
    logits = np.asarray(logits, dtype=np.float64)
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))


def _evenly(n: int, most: int) -> NDArray[np.int64]:
    """Up to `most` of the numbers below n, as far from one another as they can be."""
    return np.linspace(0, n - 1, min(n, most)).round().astype(np.int64)


def _refuse_empty(labels: Ints, classes: Sequence[str]) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    empty = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if empty:
        raise DataError(
            *(f"unknown.score: class `{name}` has no training image to compare with" for name in empty),
            hint="`probability` and `energy` need none",
        )


def _short(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return vectors.astype(np.float16).astype(np.float32)


def _unit(vectors: Any) -> NDArray[np.float64]:
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))
