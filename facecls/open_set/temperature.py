"""Temperature scaling, reliability diagram and expected calibration error (ECE).

Needs numpy only, and scipy to fit a temperature.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.integer[Any]]

TEMPERATURE_RANGE = (0.05, 20.0)  # that is searched
MIN_IMAGES = 50  # below it a fold of the cross-fit has fewer than ten images, and the comparison is decided by one of them
_FOLDS = 5


def log_probabilities(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Log-softmax of logits / temperature, (N, C) to (N, C) in float64."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    scaled -= np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return scaled


def probabilities(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Softmax of logits / temperature, (N, C) to (N, C) in float64."""
    return np.exp(log_probabilities(logits, temperature))


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The temperature in TEMPERATURE_RANGE that minimises the negative log-likelihood of (N,) labels given (N, C) logits.

    Temperature scaling (Guo et al. 2017, arXiv:1706.04599): above 1 for an overconfident network, below 1 for an
    underconfident one, such as after label smoothing. Labels are smoothed by 1 / (N + 2), as in Platt (1999): if all of a
    few images are correctly classified, the likelihood alone has no finite optimum. The smoothing matters below a few
    hundred images only and makes probabilities less confident. Use images that the network was not trained on.
    """
    from scipy.optimize import brentq

    assert len(logits) == len(labels) > 0
    relative = np.asarray(logits, dtype=np.float64)
    assert np.isfinite(relative).all()
    relative = relative - relative.max(axis=1, keepdims=True)
    if not relative.any():  # equal logits: the likelihood is the same at every temperature
        return 1.0
    smoothing = 1 / (len(labels) + 2)
    target = (1 - smoothing) * relative[np.arange(len(labels)), labels].mean() + smoothing * relative.mean()

    def excess(temperature: float) -> float:
        """Mean logit under the softmax minus that of the labels: the likelihood's derivative, which falls with temperature."""
        return float(np.einsum("nc,nc->", probabilities(relative, temperature), relative) / len(labels) - target)

    lowest, highest = TEMPERATURE_RANGE
    if excess(lowest) <= 0:
        return lowest
    return highest if excess(highest) >= 0 else float(brentq(excess, lowest, highest))


def negative_log_likelihood(logits: Floats, labels: Ints, temperature: float = 1.0) -> float:
    """Mean negative log-likelihood in nats of (N,) labels given (N, C) logits / temperature."""
    return -float(log_probabilities(logits, temperature)[np.arange(len(labels)), labels].mean())


def cross_fitted_nll(logits: Floats, labels: Ints, folds: int = _FOLDS) -> float:
    """Mean negative log-likelihood of N images, each at the temperature that `fit_temperature` fits to the other folds.

    An estimate of the likelihood after temperature scaling on further images, unlike that of the images fitted. The folds
    are min(folds, N), and stratified: the images in the order of their labels go to the folds in turn. N at least 2.
    """
    fold = np.empty(len(labels), np.int64)
    fold[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % folds
    total = 0.0
    for number in range(min(folds, len(labels))):
        rest, own = fold != number, fold == number
        total += own.sum() * negative_log_likelihood(logits[own], labels[own], fit_temperature(logits[rest], labels[rest]))
    return total / len(labels)


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose largest probability is above `low` and at most `high`."""

    low: float
    high: float
    count: int
    confidence: float | None  # their mean largest probability; None if there are none
    accuracy: float | None  # None likewise


def reliability(probabilities: Floats, labels: Ints, bins: int = 15) -> list[ReliabilityBin]:
    """Reliability diagram of (N, C) probabilities and (N,) labels: accuracy by confidence, in bins of equal width."""
    confidence = np.asarray(probabilities.max(axis=1), dtype=np.float64)
    correct = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0, 1, bins + 1).tolist()
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    counts = np.bincount(place, minlength=bins).tolist()
    confidences, hits = (np.bincount(place, weights=each, minlength=bins).tolist() for each in (confidence, correct))
    return [
        ReliabilityBin(low, high, n, total / n if n else None, right / n if n else None)
        for low, high, n, total, right in zip(edges[:-1], edges[1:], counts, confidences, hits, strict=True)
    ]


def expected_calibration_error(probabilities: Floats, labels: Ints, bins: int = 15) -> float:
    """Mean absolute gap between confidence and accuracy over bins of equal width (Guo et al. 2017, arXiv:1706.04599)."""
    gaps = (
        each.count * abs(each.accuracy - each.confidence)
        for each in reliability(probabilities, labels, bins)
        if each.accuracy is not None and each.confidence is not None
    )
    return sum(gaps) / len(labels)
