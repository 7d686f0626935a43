"""Is this one of ours: scores that are higher for the known, and thresholds that let few strangers in.

Applying a stored threshold needs only numpy; setting one loads scipy for its interval.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facecls.errors import DataError
from facecls.evaluation.calibration import Floats, Ints, probabilities

ScoreKind: TypeAlias = Literal["centroid", "probability", "energy"]
Strangers: TypeAlias = Literal["strangers", "held_out_classes"]
Source: TypeAlias = Strangers | Literal["val"]
Bools: TypeAlias = NDArray[np.bool_]

BLOCK = 4096  # pictures compared with all centroids at a time, to bound the memory


def class_centroids(features: Floats, labels: Ints, classes: Sequence[str]) -> NDArray[np.float64]:
    """The direction of each class, (C, F): the mean of its unit-length features, again at unit length.

    `features` are (N, F) of training pictures, `labels` their (N,) class numbers, `classes` the C names.
    Raises DataError naming the classes that have no picture.
    """
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(len(classes) + 1))
    empty = [name for name, count in zip(classes, np.diff(bounds), strict=True) if count == 0]
    if empty:
        raise DataError(
            *(f"unknown.score: class `{name}` has no training picture to take a centroid from" for name in empty),
            hint="`probability` and `energy` need no centroids",
        )
    return _unit(np.stack([_unit(features[order[start:end]]).mean(axis=0) for start, end in pairwise(bounds)]))


def centroid(features: Floats, centroids: Floats) -> NDArray[np.float64]:
    """The cosine of each of (N, F) features with the nearest of (C, F) centroids, (N,) in [-1, 1]."""
    return np.concatenate([cosines.max(axis=1) for _, cosines in _cosines(features, centroids)])


def probability(logits: Floats) -> NDArray[np.float64]:
    """The largest softmax probability of (N, C) logits, (N,) in [1 / C, 1] (Hendrycks and Gimpel, arXiv:1610.02136)."""
    return np.asarray(probabilities(logits).max(axis=1))


def energy(logits: Floats) -> NDArray[np.float64]:
    """The log of the sum of the exponentials of (N, C) logits, (N,): minus Liu et al.'s energy (arXiv:2010.03759)."""
    logits = np.asarray(logits, dtype=np.float64)
    top = logits.max(axis=1)
    return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)))


def held_out_scores(features: Floats, labels: Ints, folds: int | None = None, seed: int = 0) -> NDArray[np.float64]:
    """Centroid scores of classes that play strangers, (N,) in the order of the pictures, where there are no real ones.

    `features` (N, F) and `labels` (N,) are the training pictures'. Each picture is held against the centroids of the
    classes outside its own fold. By default each class is a fold of its own, which keeps the gallery nearly at its
    full size; `folds` deals the classes at random into that many instead.

    These scores are lower than those of real strangers, so that a threshold set by them lets in more than its target:
    the network was trained to drive exactly these classes away from each other's centroids, and a smaller gallery has
    fewer faces to resemble. The pictures of a class also resemble each other, so N of them say less than N strangers.
    Raises DataError where there is only one class.
    """
    present, numbers = np.unique(labels, return_inverse=True)
    if len(present) < 2:
        raise DataError(
            "unknown.strangers: one class alone leaves none to be compared with when it is held out",
            hint="name a folder of strangers' pictures in `unknown.strangers`",
        )
    fold_of_class = np.arange(len(present))
    if folds is not None:
        assert folds >= 2
        fold_of_class = np.random.default_rng(seed).permutation(len(present)) % folds
    centroids = class_centroids(features, numbers, [str(name) for name in present])
    fold_of_picture = fold_of_class[numbers]
    return np.concatenate(
        [
            np.where(fold_of_picture[block, None] == fold_of_class, -np.inf, cosines).max(axis=1)
            for block, cosines in _cosines(features, centroids)
        ]
    )


def threshold_for(stranger_scores: Floats, target_false_accept: float, source: Strangers = "strangers") -> float:
    """The score above which a picture is accepted, so that strangers are at a rate of at most the target.

    It is the k-th largest of the n strangers' scores with k = floor(target * (n + 1)). A further stranger, drawn as
    these were, is equally likely to take any of the n + 1 ranks, and so scores above it with a chance of k / (n + 1),
    less where scores are equal: the expected rate is at most the target, whatever the scores' distribution (the rank
    argument of split conformal prediction, Vovk et al. 2005). Pictures of one person are not independent draws: count
    persons where they have several.

    Raises DataError, in words that fit the `source`, where k would be 0: the strangers are too few for the target.
    """
    assert 0 < target_false_accept < 1
    scores = np.sort(np.asarray(stranger_scores, dtype=np.float64))
    accepted = _rank(target_false_accept, len(scores))
    if accepted == 0:
        raise _too_few(len(scores), target_false_accept, source)
    return float(scores[-accepted])


def threshold_from_val(known_scores: Floats, keep: float = 0.95) -> float:
    """The score above which at least the share `keep` of known pictures lies; it says nothing about strangers.

    Of n pictures, floor((1 - keep) * (n + 1)) - 1 or fewer are turned away, so that a further known picture is kept
    with a chance of at least `keep` (or n / (n + 1), where they are too few). Raises DataError where there are none.
    """
    assert 0 < keep < 1
    scores = np.sort(np.asarray(known_scores, dtype=np.float64))
    if len(scores) == 0:
        raise DataError(
            "unknown: there are neither strangers nor validation pictures to set a threshold by",
            hint="set `split.val` above 0, or name a folder of strangers' pictures in `unknown.strangers`",
        )
    lowest_kept = scores[max(_rank(1 - keep, len(scores)), 1) - 1]
    return float(np.nextafter(lowest_kept, -np.inf))


@dataclass(frozen=True)
class Threshold:
    """A score above which a picture is taken for one of ours, and what it rests on."""

    value: float
    score: ScoreKind
    source: Source
    target_false_accept: float | None  # None where it was set by known pictures alone
    n: int  # pictures behind it: strangers, held-out, or known ones
    interval: tuple[float, float] | None  # the true rate of false accepts lies here for 95 of 100 draws of n strangers
    known_kept: float | None  # share of known pictures that it accepts, where measured

    @classmethod
    def from_strangers(
        cls,
        score: ScoreKind,
        stranger_scores: Floats,
        target_false_accept: float,
        known_scores: Floats | None = None,
        source: Strangers = "strangers",
    ) -> "Threshold":
        """Set by `threshold_for`; `known_scores`, of pictures not trained on, measure what share of the known it keeps.

        The interval is exact for scores without ties: the rate above the k-th largest of n draws follows
        Beta(k, n + 1 - k), whatever their distribution. Raises DataError where the strangers are too few.
        """
        value = threshold_for(stranger_scores, target_false_accept, source)
        return cls(
            value,
            score,
            source,
            target_false_accept,
            len(stranger_scores),
            false_accept_interval(len(stranger_scores), target_false_accept),
            None if known_scores is None or len(known_scores) == 0 else _kept(known_scores, value),
        )

    @classmethod
    def from_val(cls, score: ScoreKind, known_scores: Floats, keep: float = 0.95) -> "Threshold":
        """Set by `threshold_from_val`. Raises DataError where there are no known pictures."""
        value = threshold_from_val(known_scores, keep)
        return cls(value, score, "val", None, len(known_scores), None, _kept(known_scores, value))

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


def _kept(known_scores: Floats, threshold: float) -> float:
    # In float64: beside float32 scores, numpy would round the threshold itself to float32.
    return float(np.mean(np.asarray(known_scores, dtype=np.float64) > threshold))


def strangers_needed(target_false_accept: float) -> int:
    """How many strangers' pictures a rate needs at the least, so that one of them may be let in."""
    return int(np.ceil(1 / target_false_accept - 1e-9)) - 1


def _rank(share: float, n: int) -> int:
    # The small addend undoes the rounding of products such as 0.29 * 100, which falls just short of 29.
    return int(np.floor(share * (n + 1) + 1e-9))


def _too_few(n: int, target: float, source: Strangers) -> DataError:
    needed = strangers_needed(target)
    if source == "strangers":
        there = {0: "there are none", 1: "there is 1"}.get(n, f"there are {n}")
        remedy = f"add {'' if n == 0 else 'another '}{_pictures(needed - n)}"
    else:
        there = f"only {_pictures(n)} of held-out classes can play them"
        remedy = "name a folder of strangers' pictures in `unknown.strangers`"
    if n > 1:
        digits = 1 - int(np.floor(np.log10(1 / (n + 1))))
        reachable = np.ceil(10**digits / (n + 1) - 1e-9) / 10**digits
        remedy += f", or set it to {reachable:g} or more"
    return DataError(
        f"unknown.target_false_accept: a rate of {target:g} needs at least {_pictures(needed)} of strangers, {there}",
        hint=remedy,
    )


def _pictures(n: int) -> str:
    return "1 picture" if n == 1 else f"{n} pictures"


def _unit(vectors: Floats) -> NDArray[np.float64]:
    vectors = np.asarray(vectors, dtype=np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1))


def _cosines(features: Floats, centroids: Floats) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Blocks of pictures and their (B, C) cosines with the centroids."""
    directions = _unit(centroids).T
    for start in range(0, max(len(features), 1), BLOCK):
        block = slice(start, start + BLOCK)
        yield block, _unit(features[block]) @ directions
