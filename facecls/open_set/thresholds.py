"""Rejection thresholds on open-set scores, set for a target false accept rate (FAR).

Applying a stored threshold needs numpy only; setting one imports scipy for the confidence interval.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facecls.errors import DataError
from facecls.open_set.scores import ScoreKind
from facecls.open_set.temperature import Floats
from facecls.text import plural

Source: TypeAlias = Literal["impostors", "synthetic_impostors", "validation"]
Bools: TypeAlias = NDArray[np.bool_]

HIGH_FALSE_ACCEPT = 0.2  # a threshold with a higher FAR is reported as one that cannot reject


def threshold_for(impostor_scores: Floats, target_false_accept: float) -> float:
    """The threshold above which impostors score at an expected rate of at most the target.

    It is the k-th largest of the n impostor scores, k = floor(target * (n + 1)). A further impostor drawn from the same
    distribution is equally likely to take each of the n + 1 ranks, so it scores above with probability k / (n + 1), less
    if there are ties: the rank argument of split conformal prediction (Vovk et al. 2005). It assumes independent images;
    several images of one person are not.

    Raises DataError if k would be 0: there are too few impostors for the target.
    """
    require_impostors(len(impostor_scores), target_false_accept)
    scores = np.sort(np.asarray(impostor_scores, dtype=np.float64))
    return float(scores[-_rank(target_false_accept, len(scores))])


def threshold_from_validation(known_scores: Floats, target_true_accept: float = 0.95) -> float:
    """The threshold above which at least a share `target_true_accept` of known images scores.

    At most max(floor((1 - target) * (n + 1)), 1) - 1 of the n images are rejected, so a further known image is accepted
    with probability at least the target, or n / (n + 1) if n is too small. Raises DataError if n is 0.
    """
    assert 0 < target_true_accept < 1
    scores = np.sort(np.asarray(known_scores, dtype=np.float64))
    if len(scores) == 0:
        raise DataError(
            "unknown: there are neither unknown people nor validation images to set a threshold on",
            hint="set `split.val` above 0, or set `unknown.strangers` to a folder with images of unknown people",
        )
    lowest_accepted = scores[max(_rank(1 - target_true_accept, len(scores)), 1) - 1]
    return float(np.nextafter(lowest_accepted, -np.inf))


@dataclass(frozen=True)
class Threshold:
    """An open-set score above which an image is accepted as known, and the images it was set on."""

    value: float
    score: ScoreKind
    source: Source  # the images that it was set on
    target_false_accept: float | None  # None if it was set on validation images
    n: int  # number of images that it was set on
    interval: tuple[float, float] | None  # 95 % confidence interval of the FAR on further impostors of this kind
    true_accept_rate: float  # TAR: share of the validation images of known people that it accepts
    synthetic_sources: int | None = None  # images that the synthetic impostors were made from, if it was set on these
    synthetic_accept_rate: float | None = None  # share of synthetic impostors accepted, if it was set on validation images

    @classmethod
    def from_impostors(
        cls, score: ScoreKind, impostor_scores: Floats, target_false_accept: float, known_scores: Floats
    ) -> "Threshold":
        """Set by `threshold_for`; `known_scores` of held-out images measure the true accept rate.

        Raises DataError if there are too few impostors.
        """
        value, n = threshold_for(impostor_scores, target_false_accept), len(impostor_scores)
        interval = false_accept_interval(n, target_false_accept)
        return cls(value, score, "impostors", target_false_accept, n, interval, _share_above(known_scores, value))

    @classmethod
    def from_synthetic_impostors(
        cls,
        score: ScoreKind,
        synthetic_scores: Floats,
        sources: NDArray[np.int64],
        target_false_accept: float,
        known_scores: Floats,
    ) -> "Threshold":
        """Set by `threshold_for` on synthetic impostors; `sources` (N, 3) are the images each was made from.

        Raises DataError if there are too few synthetic impostors.
        """
        value = threshold_for(synthetic_scores, target_false_accept)
        return cls(
            value,
            score,
            "synthetic_impostors",
            target_false_accept,
            len(synthetic_scores),
            synthetic_impostors_interval(synthetic_scores, sources, target_false_accept),
            _share_above(known_scores, value),
            synthetic_sources=len(np.unique(sources)),
        )

    @classmethod
    def from_validation(
        cls,
        score: ScoreKind,
        known_scores: Floats,
        target_true_accept: float = 0.95,
        synthetic_scores: Floats | None = None,
    ) -> "Threshold":
        """Set by `threshold_from_validation`; `synthetic_scores` measure the share of synthetic impostors it accepts.

        Raises DataError if there are no known images.
        """
        value = threshold_from_validation(known_scores, target_true_accept)
        synthetic = None if synthetic_scores is None else _share_above(synthetic_scores, value)
        tar = _share_above(known_scores, value)
        return cls(value, score, "validation", None, len(known_scores), None, tar, synthetic_accept_rate=synthetic)

    @property
    def false_accept_rate(self) -> float | None:
        """Estimated FAR: the target, or the share of the synthetic impostors accepted; None if there were none to measure."""
        return self.synthetic_accept_rate if self.target_false_accept is None else self.target_false_accept

    def prediction_interval(self, impostors: int) -> tuple[float, float] | None:
        """95 % prediction interval of the FAR on that many other impostors; None unless the threshold was set on impostors."""
        if self.source != "impostors":
            return None
        assert self.target_false_accept is not None
        return false_accept_prediction_interval(self.n, self.target_false_accept, impostors)

    def accepts(self, scores: Floats) -> Bools:
        """Which of (N,) scores of the kind `score` are accepted, (N,)."""
        return np.asarray(scores, dtype=np.float64) > self.value

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON and checkpoints."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Threshold":
        """The inverse of `to_plain`, also after JSON, which turns tuples into lists."""
        return cls(**{**plain, "interval": plain["interval"] and tuple(plain["interval"])})


def false_accept_interval(n: int, target_false_accept: float, level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of the FAR under the threshold that `threshold_for` sets on n impostors.

    The rate above the k-th largest of n draws follows Beta(k, n + 1 - k) for every distribution without ties.
    """
    from scipy.special import betaincinv

    rank = _rank(target_false_accept, n)
    assert rank > 0
    low, high = betaincinv(rank, n + 1 - rank, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def false_accept_prediction_interval(
    n: int, target_false_accept: float, further: int, level: float = 0.95
) -> tuple[float, float]:
    """Prediction interval of the share of `further` new impostors accepted, under the threshold set on n others.

    It is wider than `false_accept_interval` by the sampling error of the new impostors: their number of false accepts is
    beta-binomial with that Beta(k, n + 1 - k), exactly for scores without ties.
    """
    from scipy.stats import betabinom

    rank = _rank(target_false_accept, n)
    assert rank > 0 and further > 0
    low, high = betabinom.ppf([(1 - level) / 2, (1 + level) / 2], further, rank, n + 1 - rank) / further
    return float(low), float(high)


def synthetic_impostors_interval(
    scores: Floats, sources: NDArray[np.int64], target_false_accept: float, level: float = 0.95, draws: int = 1000
) -> tuple[float, float] | None:
    """Confidence interval of the FAR on synthetic impostors of further images, under the threshold set on these N.

    Percentile bootstrap (Efron 1979) over the source images, as synthetic impostors that share an image are not
    independent. A draw weights each of them by the product of its images' counts in the draw; the threshold for these
    weights is applied to all of them, unweighted. Draws without a positive weight are left out; None if these are more
    than a share 1 - `level`.
    """
    images, places = np.unique(sources[np.argsort(-np.asarray(scores, np.float64), kind="stable")], return_inverse=True)
    each = np.full(len(images), 1 / len(images))
    weights = np.random.default_rng(0).multinomial(len(images), each, size=draws)
    above = np.cumsum(weights[:, places.reshape(sources.shape)].prod(axis=2), axis=1)  # (draws, N), from the highest score
    above = above[above[:, -1] > 0]
    if len(above) < level * draws:
        return None
    rates = (above <= target_false_accept * above[:, -1:]).mean(axis=1)
    low, high = np.quantile(rates, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def impostors_needed(target_false_accept: float) -> int:
    """The smallest number of impostors on which a threshold can be set for the target."""
    return int(np.ceil(1 / target_false_accept - 1e-9)) - 1


def require_impostors(n: int, target_false_accept: float) -> None:
    """Raises DataError, with the number needed, if n images of unknown people are too few for the target."""
    assert 0 < target_false_accept < 1
    needed = impostors_needed(target_false_accept)
    if n >= needed:
        return
    there = {0: "there are none", 1: "there is 1"}.get(n, f"there are {n}")
    remedy = f"add {'' if n == 0 else 'another '}{plural(needed - n, 'image')}"
    if n > 1:
        digits = 1 - int(np.floor(np.log10(1 / (n + 1))))
        reachable = np.ceil(10**digits / (n + 1) - 1e-9) / 10**digits
        remedy += f", or set it to {reachable:g} or more"
    raise DataError(
        f"unknown.target_false_accept: a rate of {target_false_accept:g} needs at least {plural(needed, 'image')} of "
        f"unknown people, {there}",
        hint=remedy,
    )


def _share_above(scores: Floats, threshold: float) -> float:
    # In float64: against float32 scores, numpy would round the threshold to float32.
    return float(np.mean(np.asarray(scores, dtype=np.float64) > threshold))


def _rank(share: float, n: int) -> int:
    # The small addend undoes the rounding of products such as 0.29 * 100, which falls just short of 29.
    return int(np.floor(share * (n + 1) + 1e-9))
