"""Thresholds on scores of being known, which let few strangers in.

Applying a stored threshold needs numpy and torch; setting one loads scipy for its interval.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facecls.errors import DataError
from facecls.open_set.scores import ScoreKind
from facecls.open_set.temperature import Floats

Source: TypeAlias = Literal["strangers", "composites", "val"]
Bools: TypeAlias = NDArray[np.bool_]


def threshold_for(impostor_scores: Floats, target_false_accept: float) -> float:
    """The score above which an image is accepted, so that strangers are at a rate of at most the target.

    It is the k-th largest of the n strangers' scores with k = floor(target * (n + 1)). A further stranger, drawn as
    these were, is equally likely to take any of the n + 1 ranks, and so scores above it with a chance of k / (n + 1),
    less where scores are equal: the expected rate is at most the target, whatever the scores' distribution (the rank
    argument of split conformal prediction, Vovk et al. 2005). Images of one person are not independent draws: count
    persons where they have several.

    Raises DataError where k would be 0: the strangers are too few for the target.
    """
    require_impostors(len(impostor_scores), target_false_accept)
    scores = np.sort(np.asarray(impostor_scores, dtype=np.float64))
    return float(scores[-_rank(target_false_accept, len(scores))])


def threshold_from_val(known_scores: Floats, keep: float = 0.95) -> float:
    """The score above which at least the share `keep` of known images lies; it says nothing about strangers.

    Of n images, floor((1 - keep) * (n + 1)) - 1 or fewer are turned away, so that a further known image is kept
    with a chance of at least `keep` (or n / (n + 1), where they are too few). Raises DataError where there are none.
    """
    assert 0 < keep < 1
    scores = np.sort(np.asarray(known_scores, dtype=np.float64))
    if len(scores) == 0:
        raise DataError(
            "unknown: there are neither strangers nor validation images to set a threshold by",
            hint="set `split.val` above 0, or name a folder of strangers' images in `unknown.strangers`",
        )
    lowest_kept = scores[max(_rank(1 - keep, len(scores)), 1) - 1]
    return float(np.nextafter(lowest_kept, -np.inf))


@dataclass(frozen=True)
class Threshold:
    """A score above which an image is taken for one of ours, and what it rests on."""

    value: float
    score: ScoreKind
    source: Source
    target_false_accept: float | None  # None where it was set by known images alone
    n: int  # images behind it: strangers, composites, or known ones
    interval: tuple[float, float] | None  # their true rate lies here for 95 of 100 draws of n strangers, or composites
    known_kept: float | None  # share of known images that it accepts, where measured
    synthetic_sources: int | None = None  # images that the composites are made of which it was set by
    synthetic_accepted: float | None = None  # share of composites that it lets in, where it was not set by them

    @classmethod
    def from_impostors(
        cls,
        score: ScoreKind,
        impostor_scores: Floats,
        target_false_accept: float,
        known_scores: Floats | None = None,
    ) -> "Threshold":
        """Set by `threshold_for`; `known_scores`, of images not trained on, measure what share of the known it keeps.

        The interval is exact for scores without ties: the rate above the k-th largest of n draws follows
        Beta(k, n + 1 - k), whatever their distribution. Raises DataError where the strangers are too few.
        """
        value = threshold_for(impostor_scores, target_false_accept)
        return cls(
            value,
            score,
            "strangers",
            target_false_accept,
            len(impostor_scores),
            false_accept_interval(len(impostor_scores), target_false_accept),
            None if known_scores is None or len(known_scores) == 0 else _share_above(known_scores, value),
        )

    @classmethod
    def from_synthetic_impostors(
        cls,
        score: ScoreKind,
        synthetic_scores: Floats,
        sources: NDArray[np.int64],
        target_false_accept: float,
        known_scores: Floats,
    ) -> "Threshold":
        """Set by `threshold_for`, composites standing in for strangers; `sources` (N, 3) are the images each is made of.

        The interval is that of the rate of composites of further images, not of strangers; None where the images are
        too few for one. Raises DataError where the composites are too few.
        """
        value = threshold_for(synthetic_scores, target_false_accept)
        return cls(
            value,
            score,
            "composites",
            target_false_accept,
            len(synthetic_scores),
            synthetic_impostors_interval(synthetic_scores, sources, target_false_accept),
            _share_above(known_scores, value),
            synthetic_sources=len(np.unique(sources)),
        )

    @classmethod
    def from_val(
        cls, score: ScoreKind, known_scores: Floats, keep: float = 0.95, synthetic_scores: Floats | None = None
    ) -> "Threshold":
        """Set by `threshold_from_val`; `composite_scores` measure what it lets in. Raises DataError without known images."""
        value = threshold_from_val(known_scores, keep)
        let_in = None if synthetic_scores is None else _share_above(synthetic_scores, value)
        kept = _share_above(known_scores, value)
        return cls(value, score, "val", None, len(known_scores), None, kept, synthetic_accepted=let_in)

    def expected(self, impostors: int) -> tuple[float, float] | None:
        """The share of so many further strangers that it lets in lies here, by `false_accepts_to_expect`.

        None where it was not set by strangers: it promises nothing then.
        """
        if self.source != "strangers" or impostors == 0:
            return None
        assert self.target_false_accept is not None
        return false_accepts_to_expect(self.n, self.target_false_accept, impostors)

    def accepts(self, scores: Floats) -> Bools:
        """(N,) scores of the same kind to (N,) verdicts, true for one of ours."""
        return np.asarray(scores, dtype=np.float64) > self.value

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON and a checkpoint can hold."""
        return asdict(self) | {"interval": None if self.interval is None else list(self.interval)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Threshold":
        """What `to_plain` gave."""
        interval = plain["interval"]
        return cls(**{**plain, "interval": None if interval is None else (interval[0], interval[1])})


def false_accept_interval(n: int, target_false_accept: float, level: float = 0.95) -> tuple[float, float]:
    """Where the true rate of false accepts lies, with chance `level`, under a threshold set by n strangers."""
    from scipy.special import betaincinv

    accepted = _rank(target_false_accept, n)
    assert accepted > 0
    low, high = betaincinv(accepted, n + 1 - accepted, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def false_accepts_to_expect(n: int, target_false_accept: float, further: int, level: float = 0.95) -> tuple[float, float]:
    """What share of `further` new strangers is let in, with chance `level` or more, under a threshold set by n others.

    Wider than `false_accept_interval`, which is about the rate itself: a count of few strangers has its own luck. The
    count follows the beta-binomial distribution of that Beta(k, n + 1 - k), exact for scores without ties.
    """
    from scipy.stats import betabinom

    accepted = _rank(target_false_accept, n)
    assert accepted > 0 and further > 0
    low, high = betabinom.ppf([(1 - level) / 2, (1 + level) / 2], further, accepted, n + 1 - accepted) / further
    return float(low), float(high)


def synthetic_impostors_interval(
    scores: Floats, sources: NDArray[np.int64], target_false_accept: float, level: float = 0.95, draws: int = 1000
) -> tuple[float, float] | None:
    """Where the rate of further composites lies, with chance `level`, under a threshold set by these N.

    Bootstrap over the images, not over the composites, which share them: an image that is drawn twice counts its
    composites twice, and thresholds set by such samples are tried on all (percentiles; Efron 1979). A draw may hold no
    composite, which sets no threshold and is left out; None where more than 1 - `level` of the draws are such.
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


def _share_above(scores: Floats, threshold: float) -> float:
    # In float64: beside float32 scores, numpy would round the threshold itself to float32.
    return float(np.mean(np.asarray(scores, dtype=np.float64) > threshold))


def impostors_needed(target_false_accept: float) -> int:
    """How many strangers' images a rate needs at the least, so that one of them may be let in."""
    return int(np.ceil(1 / target_false_accept - 1e-9)) - 1


def require_impostors(n: int, target_false_accept: float) -> None:
    """Raises DataError where n images of strangers are too few for the target, with the number that would do."""
    assert 0 < target_false_accept < 1
    needed = impostors_needed(target_false_accept)
    if n >= needed:
        return
    there = {0: "there are none", 1: "there is 1"}.get(n, f"there are {n}")
    remedy = f"add {'' if n == 0 else 'another '}{_images(needed - n)}"
    if n > 1:
        digits = 1 - int(np.floor(np.log10(1 / (n + 1))))
        reachable = np.ceil(10**digits / (n + 1) - 1e-9) / 10**digits
        remedy += f", or set it to {reachable:g} or more"
    raise DataError(
        f"unknown.target_false_accept: a rate of {target_false_accept:g} needs at least {_images(needed)} of strangers, "
        f"{there}",
        hint=remedy,
    )


def _rank(share: float, n: int) -> int:
    # The small addend undoes the rounding of products such as 0.29 * 100, which falls just short of 29.
    return int(np.floor(share * (n + 1) + 1e-9))


def _images(n: int) -> str:
    return "1 image" if n == 1 else f"{n} images"
