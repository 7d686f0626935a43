"""Logits and labels to the standard figures, as scikit-learn counts them, and to how sure one can be of them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.evaluation.calibration import Floats, Ints, log_probabilities

TOP = (3, 5, 10)
DRAWN_AT_ONCE = 4_000_000  # counts held in memory by the bootstrap
LOGITS_AT_ONCE = 1_000_000  # copied, at some 17 bytes each, while the true classes are looked up


@dataclass(frozen=True)
class ClassScore:
    """Figures of one class, each in [0, 1]; 0 where there is nothing to divide by."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int  # pictures of this class


@dataclass(frozen=True)
class Scores:
    """How well pictures were named; shares are in [0, 1]."""

    n: int
    loss: float  # mean cross entropy, natural logarithm
    accuracy: float
    balanced_accuracy: float  # mean recall over the classes that have pictures
    macro_f1: float  # mean F1 over the same classes
    weighted_f1: float  # mean F1, each class by its number of pictures
    top_k: dict[int, float]  # share whose class is among the k likeliest; only k below the number of classes
    classes: tuple[str, ...]
    confusion: NDArray[np.int64]  # (C, C), row the true class, column the predicted one
    per_class: tuple[ClassScore, ...]

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON and a checkpoint can hold; the keys of `top_k` stay numbers."""
        return asdict(self) | {
            "classes": list(self.classes),
            "confusion": self.confusion.tolist(),
            "per_class": [asdict(each) for each in self.per_class],
        }


def score(logits: Floats, labels: Ints, classes: Sequence[str]) -> Scores:
    """The standard figures of (N, C) logits against (N,) true class numbers; N at least 1.

    The mean over classes is taken over those among the labels, so that a class without a picture here does not pull
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
    return Scores(
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
            ClassScore(name, float(p), float(r), float(f), int(s))
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


def bootstrap(confusion: Ints, draws: int = 1000, seed: int = 0, level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Percentile intervals of `accuracy`, `balanced_accuracy` and `macro_f1` under resampling of the pictures.

    Drawing N pictures with replacement is one multinomial draw over the cells of the (C, C) confusion matrix that are
    not empty (Efron and Tibshirani 1993). A draw's means go over the classes that have a picture in it. The interval
    speaks of other pictures like these, not of another training.

    Of a few mistakes, or none, draws show too little: what was never seen is in none of them. So every interval reaches
    at least as far down and up from its figure as Wilson's does from the accuracy.
    """
    true, predicted = np.nonzero(confusion)  # row by row, so that `true` is sorted
    cells = confusion[true, predicted]
    total = int(cells.sum())
    assert total > 0 and draws > 0
    rng = np.random.default_rng(seed)
    at_once = max(1, DRAWN_AT_ONCE // len(cells))
    pieces = [
        _figures(rng.multinomial(total, cells / total, size=min(at_once, draws - done)), true, predicted)
        for done in range(0, draws, at_once)
    ]
    drawn_low, drawn_high = np.quantile(np.concatenate(pieces), [(1 - level) / 2, (1 + level) / 2], axis=0)
    seen = _figures(cells[None], true, predicted)[0]
    accuracy = seen[0]
    low, high = wilson(int(cells[true == predicted].sum()), total, level)
    lows = np.clip(np.minimum(drawn_low, seen - (accuracy - low)), 0, 1).tolist()
    highs = np.clip(np.maximum(drawn_high, seen + (high - accuracy)), 0, 1).tolist()
    return dict(zip(("accuracy", "balanced_accuracy", "macro_f1"), zip(lows, highs, strict=True), strict=True))


def _figures(counts: Ints, true: Ints, predicted: Ints) -> NDArray[np.float64]:
    """(D, M) pictures in M cells of classes (true, predicted), `true` sorted, to (D, 3) figures of the D draws."""
    classes, starts, own = np.unique(true, return_index=True, return_inverse=True)
    support = np.add.reduceat(counts, starts, axis=1)  # (D, P), P classes that have pictures
    by_predicted = np.argsort(predicted, kind="stable")
    named, first = np.unique(predicted[by_predicted], return_index=True)
    columns = np.add.reduceat(counts[:, by_predicted], first, axis=1)
    taken_for = np.zeros_like(support)  # pictures taken for each of the P classes
    _, place, source = np.intersect1d(classes, named, return_indices=True)
    taken_for[:, place] = columns[:, source]
    hits = np.zeros_like(support)
    diagonal = true == predicted
    hits[:, own[diagonal]] = counts[:, diagonal]
    present = support > 0
    recall = (hits / np.maximum(support, 1)).sum(axis=1) / present.sum(axis=1)
    f1 = (present * 2 * hits / np.maximum(support + taken_for, 1)).sum(axis=1) / present.sum(axis=1)
    return np.stack([hits.sum(axis=1) / support.sum(axis=1), recall, f1], axis=1)


def wilson(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson's (1927) interval of a share of which `successes` among `n` independent trials were seen; n at least 1."""
    assert 0 <= successes <= n and n > 0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)


def roc_auc(probabilities: Floats, labels: Ints) -> float | None:
    """Area under the ROC curve, one class against the rest, mean over the classes among the (N,) labels.

    `probabilities` are (N, C). None where all pictures are of one class, for which there is no rest. It is
    scikit-learn's `roc_auc_score` over the present classes, which needs 15 s where this needs 0.1 s (10,000 pictures,
    1,000 classes): the chance that a picture of the class is ranked above one of the rest, ties counting half.
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


@dataclass(frozen=True)
class ReliabilityBin:
    """Pictures whose top probability is above `low` and at most `high`."""

    low: float
    high: float
    count: int
    confidence: float | None  # their mean top probability; None where there are none
    accuracy: float | None  # the share of them named right


def reliability(probabilities: Floats, labels: Ints, bins: int = 15) -> list[ReliabilityBin]:
    """The reliability diagram of (N, C) probabilities: how often pictures are named right, by how sure the model is."""
    confidence = np.asarray(probabilities.max(axis=1), dtype=np.float64)
    right = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1)
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(place, minlength=bins)
    sure, named = (np.bincount(place, weights=each, minlength=bins) for each in (confidence, right))
    return [
        ReliabilityBin(
            float(edges[i]),
            float(edges[i + 1]),
            int(n),
            float(sure[i] / n) if n else None,
            float(named[i] / n) if n else None,
        )
        for i, n in enumerate(counts)
    ]


def expected_calibration_error(probabilities: Floats, labels: Ints, bins: int = 15) -> float:
    """The mean distance of confidence from accuracy over bins of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    filled = [
        (each.count, each.accuracy - each.confidence)
        for each in reliability(probabilities, labels, bins)
        if each.accuracy is not None and each.confidence is not None
    ]
    return sum(count * abs(gap) for count, gap in filled) / len(labels)


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
    share: float  # of the pictures of the true class


def confused_pairs(confusion: Ints, classes: Sequence[str], most: int = 10) -> list[ConfusedPair]:
    """The commonest mistakes, by number and then by share of the true class; equal ones in the order of the classes."""
    support = confusion.sum(axis=1)
    pairs = [
        ConfusedPair(classes[i], classes[j], int(confusion[i, j]), float(confusion[i, j] / support[i]))
        for i, j in np.argwhere(confusion)
        if i != j
    ]
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share))[:most]


@dataclass(frozen=True)
class GroupScore:
    """Accuracy in one group of pictures, with Wilson's 95 % interval."""

    group: str
    n: int
    accuracy: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class GroupScores:
    """Accuracy by group, in the order of the groups' names."""

    groups: tuple[GroupScore, ...]
    gap: float  # accuracy of the best group less that of the worst
    best: str
    worst: str

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        groups = [asdict(each) | {"interval": list(each.interval)} for each in self.groups]
        return asdict(self) | {"groups": groups}


def by_group(labels: Ints, predictions: Ints, groups: Sequence[str]) -> GroupScores:
    """Accuracy of (N,) predictions for each group of pictures, such as an age band or a camera, and the largest gap.

    `groups` names the group of each of the N pictures, N at least 1. The gap of small groups is mostly chance: see
    whether their intervals overlap.
    """
    assert len(labels) == len(predictions) == len(groups) > 0
    names, member = np.unique(np.asarray(groups, dtype=str), return_inverse=True)
    counts = np.bincount(member)
    right = np.bincount(member, weights=labels == predictions).astype(int)
    scores = tuple(
        GroupScore(str(name), int(n), float(k / n), wilson(int(k), int(n)))
        for name, n, k in zip(names, counts, right, strict=True)
    )
    best, worst = max(scores, key=lambda each: each.accuracy), min(scores, key=lambda each: each.accuracy)
    return GroupScores(scores, best.accuracy - worst.accuracy, best.group, worst.group)
