"""Confidence intervals: percentile bootstrap and Wilson."""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from facecls.open_set.temperature import Ints

COUNTS_AT_ONCE = 4_000_000  # counts that the bootstrap holds in memory


def bootstrap_intervals(
    confusion: Ints, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of `accuracy`, `balanced_accuracy` and `macro_f1` under resampling of the images.

    Resampling N images is one multinomial draw over the non-empty cells of the (C, C) confusion matrix (Efron and
    Tibshirani 1993). A draw's macro averages are over the classes with an image in it. The intervals cover the sampling
    of images, not of trainings.

    With few errors or none the bootstrap is too narrow, because it resamples only what was observed. So each interval
    extends at least as far from its estimate as the Wilson interval does from the accuracy.
    """
    true, predicted = np.nonzero(confusion)  # row by row, so that `true` is sorted
    cells = confusion[true, predicted]
    total = int(cells.sum())
    assert total > 0 and draws > 0
    rng = np.random.default_rng(seed)
    at_once = max(1, COUNTS_AT_ONCE // len(cells))
    samples = [
        _metrics(rng.multinomial(total, cells / total, size=min(at_once, draws - done)), true, predicted)
        for done in range(0, draws, at_once)
    ]
    sample_low, sample_high = np.quantile(np.concatenate(samples), [(1 - level) / 2, (1 + level) / 2], axis=0)
    estimates = _metrics(cells[None], true, predicted)[0]
    accuracy = estimates[0]
    low, high = wilson_interval(int(cells[true == predicted].sum()), total, level)
    lows = np.clip(np.minimum(sample_low, estimates - (accuracy - low)), 0, 1).tolist()
    highs = np.clip(np.maximum(sample_high, estimates + (high - accuracy)), 0, 1).tolist()
    return dict(zip(("accuracy", "balanced_accuracy", "macro_f1"), zip(lows, highs, strict=True), strict=True))


def _metrics(counts: Ints, true: Ints, predicted: Ints) -> NDArray[np.float64]:
    """The three metrics of D draws, (D, 3), from (D, M) counts of M cells (true, predicted) with `true` sorted."""
    classes, starts, own = np.unique(true, return_index=True, return_inverse=True)
    support = np.add.reduceat(counts, starts, axis=1)  # (D, P), P classes that have images
    by_predicted = np.argsort(predicted, kind="stable")
    predicted_classes, first = np.unique(predicted[by_predicted], return_index=True)
    columns = np.add.reduceat(counts[:, by_predicted], first, axis=1)
    predictions = np.zeros_like(support)  # images predicted as each of the P classes
    _, place, source = np.intersect1d(classes, predicted_classes, return_indices=True)
    predictions[:, place] = columns[:, source]
    hits = np.zeros_like(support)
    diagonal = true == predicted
    hits[:, own[diagonal]] = counts[:, diagonal]
    present = support > 0
    recall = (hits / np.maximum(support, 1)).sum(axis=1) / present.sum(axis=1)
    f1 = (present * 2 * hits / np.maximum(support + predictions, 1)).sum(axis=1) / present.sum(axis=1)
    return np.stack([hits.sum(axis=1) / support.sum(axis=1), recall, f1], axis=1)


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Wilson score interval (1927) of a proportion with `successes` in `n` independent trials; n at least 1."""
    assert 0 <= successes <= n and n > 0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)) ** 0.5
    return (0.0 if successes == 0 else middle - half), (1.0 if successes == n else middle + half)
