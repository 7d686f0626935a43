"""Logits and labels to the standard figures, as scikit-learn counts them, and to how sure one can be of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.open_set.temperature import Floats, Ints, log_probabilities

TOP = (3, 5, 10)
DRAWN_AT_ONCE = 4_000_000  # counts held in memory by the bootstrap
LOGITS_AT_ONCE = 1_000_000  # copied, at some 17 bytes each, while the true classes are looked up


@dataclass(frozen=True)
class ClassMetrics:
    """Figures of one class, each in [0, 1]; 0 where there is nothing to divide by."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int  # images of this class


@dataclass(frozen=True)
class Metrics:
    """How well images were named; shares are in [0, 1]."""

    n: int
    loss: float  # mean cross entropy, natural logarithm
    accuracy: float
    balanced_accuracy: float  # mean recall over the classes that have images
    macro_f1: float  # mean F1 over the same classes
    weighted_f1: float  # mean F1, each class by its number of images
    top_k: dict[int, float]  # share whose class is among the k likeliest; only k below the number of classes
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]  # (C, C), row the true class, column the predicted one
    per_class: tuple[ClassMetrics, ...]

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON and a checkpoint can hold; the keys of `top_k` stay numbers."""
        return asdict(self) | {
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "per_class": [asdict(each) for each in self.per_class],
        }


def score(logits: Floats, labels: Ints, classes: Sequence[str]) -> Metrics:
    """The standard figures of (N, C) logits against (N,) true class numbers; N at least 1.

    The mean over classes is taken over those among the labels, so that a class without an image here does not pull
    it down: scikit-learn's figures with `labels=np.unique(labels)` and `zero_division=0`. What is taken for an absent
    class still counts against the class that it is of. Among equal logits the lowest class number comes first.
    """
    from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

    assert len(logits) == len(labels) > 0
    predicted = logits.argmax(axis=1)
    numbers = np.arange(len(classes))
    confusion = np.asarray(confusion_matrix(labels, predicted, labels=numbers), dtype=np.int64)
    precision, recall, f1, support = precision_recall_fscore_support(
        labels, predicted, labels=numbers, average=None, zero_division=0
    )
    present = support > 0
    log_likelihood, rank = _of_true(logits, labels)
    return Metrics(
        n=len(labels),
        loss=-float(log_likelihood.mean()),
        accuracy=float(np.mean(predicted == labels)),
        balanced_accuracy=float(recall[present].mean()),
        macro_f1=float(f1[present].mean()),
        weighted_f1=float(np.average(f1, weights=support)),
        top_k={k: float(np.mean(rank < k)) for k in TOP if k < len(classes)},
        classes=tuple(classes),
        confusion=confusion,
        per_class=tuple(
            ClassMetrics(name, float(p), float(r), float(f), int(s))
            for name, p, r, f, s in zip(classes, precision, recall, f1, support, strict=True)
        ),
    )


def _of_true(logits: Floats, labels: Ints) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The true classes' log probability and rank, (N,) each; of some rows at a time, whose logits are copied on the way."""
    rows = max(1, LOGITS_AT_ONCE // logits.shape[1])
    blocks = [(logits[at : at + rows], labels[at : at + rows]) for at in range(0, len(labels), rows)]
    likelihoods = [log_probabilities(some)[np.arange(len(true)), true] for some, true in blocks]
    return np.concatenate(likelihoods), np.concatenate([_rank_of_true(*block) for block in blocks])


def _rank_of_true(logits: Floats, labels: Ints) -> NDArray[np.int64]:
    """How many classes come before the true one, (N,); all of them where the logits are no numbers."""
    true = logits[np.arange(len(labels)), labels][:, None]
    behind = (logits < true) | ((logits == true) & (np.arange(logits.shape[1]) >= labels[:, None]))
    return np.asarray(logits.shape[1] - behind.sum(axis=1))


def roc_auc(probabilities: Floats, labels: Ints) -> float | None:
    """Area under the ROC curve, one class against the rest, mean over the classes among the (N,) labels.

    `probabilities` are (N, C). None where all images are of one class, for which there is no rest. It is
    scikit-learn's `roc_auc_score` over the present classes, which needs 15 s where this needs 0.1 s (10,000 images,
    1,000 classes): the chance that an image of the class is ranked above one of the rest, ties counting half.
    """
    present = np.unique(labels)
    if len(present) < 2:
        return None
    areas = []
    for number in present:
        own, column = labels == number, probabilities[:, number]
        rest = np.sort(column[~own])
        below, level = (np.searchsorted(rest, column[own], side=side).mean() for side in ("left", "right"))
        areas.append((below + level) / 2 / len(rest))
    return float(np.mean(areas))


def brier_score(probabilities: Floats, labels: Ints) -> float:
    """The mean squared distance of (N, C) probabilities from the truth, in [0, 2] (Brier 1950)."""
    distance = np.array(probabilities, dtype=np.float64)
    distance[np.arange(len(labels)), labels] -= 1
    return float((distance**2).sum(axis=1).mean())


@dataclass(frozen=True)
class ConfusedPair:
    """Two classes of which one is taken for the other."""

    true: str
    predicted: str
    count: int
    share: float  # of the images of the true class


def confused_pairs(confusion: Ints, classes: Sequence[str], most: int = 10) -> list[ConfusedPair]:
    """The commonest mistakes, by number and then by share of the true class; equal ones in the order of the classes."""
    support = confusion.sum(axis=1)
    pairs = [
        ConfusedPair(classes[i], classes[j], int(confusion[i, j]), float(confusion[i, j] / support[i]))
        for i, j in np.argwhere(confusion)
        if i != j
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share))[:most]
