"""Logits to probabilities that mean what they say: temperature scaling, fitted after training on images held out.

Only numpy is needed, so that `predict` can apply a stored temperature at once.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.integer[Any]]

TEMPERATURES = (0.05, 20.0)  # the range in which a temperature is looked for


def log_probabilities(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """(N, C) logits to natural logarithms of probabilities, (N, C), in float64."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    scaled -= np.log(np.exp(scaled).sum(axis=1, keepdims=True))
    return scaled


def probabilities(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """(N, C) logits to probabilities, (N, C), rows summing to 1: the softmax of logits / temperature, in float64."""
    return np.exp(log_probabilities(logits, temperature))


def fit_temperature(logits: Floats, labels: Ints) -> float:
    """The temperature by which (N, C) logits are divided so that their softmax suits (N,) labels, in TEMPERATURES.

    It minimises the negative log-likelihood (Guo et al. 2017, arXiv:1706.04599): above 1 for an overconfident network,
    below 1 for one made shy by label smoothing. The labels are smoothed by 1 / (N + 2), as Platt (1999) does for his
    sigmoid: where all of a few images are named right, the likelihood alone would grow without end towards full
    certainty. That is felt below some hundred images only, and there it errs on the shy side.

    Use images that the network was not trained on; without any, stay at 1.
    """
    assert len(logits) == len(labels) > 0
    relative = np.asarray(logits, dtype=np.float64)
    assert np.isfinite(relative).all()
    relative = relative - relative.max(axis=1, keepdims=True)
    smoothing = 1 / (len(labels) + 2)
    target = (1 - smoothing) * relative[np.arange(len(labels)), labels] + smoothing * relative.mean(axis=1)
    coldest, hottest = TEMPERATURES
    return 1 / _sharpness(relative, float(target.mean()), 1 / hottest, 1 / coldest)


def _sharpness(relative: NDArray[np.float64], target: float, low: float, high: float) -> float:
    """Where the softmax of sharpness * relative expects `target` on average, or the end of the range nearest to it.

    The likelihood is concave in the sharpness 1 / T, so what it expects rises with it: Newton, kept inside a bracket.
    """
    sharpness = 1.0
    for _ in range(60):
        weights = np.exp(sharpness * relative)
        weights /= weights.sum(axis=1, keepdims=True)
        expected = np.einsum("nc,nc->n", weights, relative)
        spread = np.einsum("nc,nc,nc->n", weights, relative, relative) - expected**2
        excess = float(expected.mean()) - target
        if excess == 0:
            break
        low, high = (sharpness, high) if excess < 0 else (low, sharpness)
        slope = float(spread.mean())
        step = sharpness - excess / slope if slope > 0 else low
        step = step if low < step < high else (low * high) ** 0.5
        if abs(step - sharpness) <= 1e-9 * sharpness:
            break
        sharpness = step
    return sharpness


@dataclass(frozen=True)
class ReliabilityBin:
    """Images whose top probability is above `low` and at most `high`."""

    low: float
    high: float
    count: int
    confidence: float | None  # their mean top probability; None where there are none
    accuracy: float | None  # the share of them named right


def reliability(probabilities: Floats, labels: Ints, bins: int = 15) -> list[ReliabilityBin]:
    """The reliability diagram of (N, C) probabilities: how often images are named right, by how sure the model is."""
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
