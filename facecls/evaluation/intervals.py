"""Confidence intervals: percentile bootstrap and Wilson."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from facecls.open_set.temperature import Ints

DRAWN_AT_ONCE = 4_000_000  # counts held in memory by the bootstrap


def bootstrap(confusion: Ints, draws: int = 1000, seed: int = 0, level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Percentile intervals of `accuracy`, `balanced_accuracy` and `macro_f1` under resampling of the images.

    Drawing N images with replacement is one multinomial draw over the cells of the (C, C) confusion matrix that are
    not empty (Efron and Tibshirani 1993). A draw's means go over the classes that have an image in it. The interval
    speaks of other images like these, not of another training.

    Of a few mistakes, or none, draws show too little: what was never seen is in none of them. So every interval reaches
    at least as far down and up from its figure as Wilson's does from the accuracy.
    """
    true, predicted = np.nonzero(confusion)  # row by row, so that `true` is sorted
    cells = confusion[true, predicted]
    total = int(cells.sum())
    assert total > 0 and draws > 0
    rng = np.random.default_rng(seed)
    at_once = max(1, DRAWN_AT_ONCE // len(cells))
    micro_batches = [
        _figures(rng.multinomial(total, cells / total, size=min(at_once, draws - done)), true, predicted)
        for done in range(0, draws, at_once)
    ]
    drawn_low, drawn_high = np.quantile(np.concatenate(micro_batches), [(1 - level) / 2, (1 + level) / 2], axis=0)
    seen = _figures(cells[None], true, predicted)[0]
    accuracy = seen[0]
    low, high = wilson(int(cells[true == predicted].sum()), total, level)
    lows = np.clip(np.minimum(drawn_low, seen - (accuracy - low)), 0, 1).tolist()
    highs = np.clip(np.maximum(drawn_high, seen + (high - accuracy)), 0, 1).tolist()
    return dict(zip(("accuracy", "balanced_accuracy", "macro_f1"), zip(lows, highs, strict=True), strict=True))


def _figures(counts: Ints, true: Ints, predicted: Ints) -> NDArray[np.float64]:
    """(D, M) images in M cells of classes (true, predicted), `true` sorted, to (D, 3) figures of the D draws."""
    classes, starts, own = np.unique(true, return_index=True, return_inverse=True)
    support = np.add.reduceat(counts, starts, axis=1)  # (D, P), P classes that have images
    by_predicted = np.argsort(predicted, kind="stable")
    named, first = np.unique(predicted[by_predicted], return_index=True)
    columns = np.add.reduceat(counts[:, by_predicted], first, axis=1)
    taken_for = np.zeros_like(support)  # images taken for each of the P classes
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
