"""Confidence intervals: percentile bootstrap and Wilson."""

import numpy as np
from numpy.typing import NDArray

from facecls.open_set.temperature import Ints

COUNTS_AT_ONCE = 4_000_000  # resampled per block, which bounds the memory


def bootstrap_intervals(
    confusion: Ints, draws: int = 1000, seed: int = 0, level: float = 0.95
) -> dict[str, tuple[float, float]]:
    """Percentile intervals of `balanced_accuracy` and `macro_f1` under resampling of the images.

    Percentile bootstrap (Efron and Tibshirani 1993, chapter 13). Resampling N images is one multinomial draw over the
    non-empty cells of the (C, C) confusion matrix. A draw's macro averages are over the classes that have images in it. The
    intervals account for the sampling of the images, not for the randomness of training. With few errors or few images they
    are too narrow; without errors they have no width.
    """
    true, predicted = np.nonzero(confusion)
    cells = confusion[true, predicted]
    total = int(cells.sum())
    assert total > 0 and draws > 0
    rng = np.random.default_rng(seed)
    at_once = max(1, COUNTS_AT_ONCE // len(cells))
    samples = [
        _metrics(rng.multinomial(total, cells / total, size=min(at_once, draws - done)), true, predicted)
        for done in range(0, draws, at_once)
    ]
    low, high = np.quantile(np.concatenate(samples), [(1 - level) / 2, (1 + level) / 2], axis=0).tolist()
    return dict(zip(("balanced_accuracy", "macro_f1"), zip(low, high, strict=True), strict=True))


def _metrics(counts: Ints, true: Ints, predicted: Ints) -> NDArray[np.float64]:
    """Balanced accuracy and macro F1 of D draws, (D, 2), from (D, M) counts of the M cells (true, predicted)."""
    from scipy.sparse import csr_array

    def by_class(cells: Ints, classes: Ints) -> NDArray[np.float64]:  # (D, M) to (D, C)
        one_hot = csr_array(
            (np.ones(len(true)), (np.arange(len(true)), classes)), (len(true), 1 + max(true.max(), predicted.max()))
        )
        return np.asarray(cells @ one_hot)

    support, predictions = by_class(counts, true), by_class(counts, predicted)
    hits = by_class(counts * (true == predicted), true)
    present = (support > 0).sum(axis=1)
    recall = (hits / np.maximum(support, 1)).sum(axis=1) / present
    f1 = (2 * hits / np.maximum(support + predictions, 1)).sum(axis=1) / present
    return np.stack([recall, f1], axis=1)


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a proportion with `successes` in `n` independent trials; n at least 1.

    Wilson (1927), recommended for few trials by Brown, Cai and DasGupta (2001).
    """
    from scipy.stats import binomtest

    low, high = binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(low), float(high)
