"""All that is said of a classifier's outputs for images whose classes are known, and for strangers."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.evaluation.intervals import bootstrap, wilson
from facecls.evaluation.metrics import ConfusedPair, Metrics, brier_score, confused_pairs, roc_auc, score
from facecls.open_set.calibration import Calibration
from facecls.open_set.outputs import Outputs
from facecls.open_set.rates import Identification, identification_rates
from facecls.open_set.scores import ScoreKind, known_scores
from facecls.open_set.temperature import Floats, Ints, expected_calibration_error, probabilities
from facecls.open_set.thresholds import Bools, Threshold

PAIRS = 10


@dataclass(frozen=True)
class ClosedSetResult:
    """The standard figures with how sure one can be of them, and whether the probabilities mean what they say."""

    scores: Metrics
    intervals: dict[str, tuple[float, float]]  # 95 %, bootstrap
    roc_auc: float | None  # None where all images are of one class
    ece: tuple[float, float]  # expected calibration error, before and after calibration
    brier: tuple[float, float]  # likewise, in [0, 2]
    pairs: tuple[ConfusedPair, ...]  # the commonest mistakes

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return self.scores.to_plain() | {
            "intervals": {name: list(interval) for name, interval in self.intervals.items()},
            "roc_auc": self.roc_auc,
            "ece": {"before": self.ece[0], "after": self.ece[1]},
            "brier": {"before": self.brier[0], "after": self.brier[1]},
            "confused_pairs": [asdict(pair) for pair in self.pairs],
        }


def closed_set_result(logits: Floats, calibrated: Floats, labels: Ints, classes: Sequence[str]) -> ClosedSetResult:
    """Assesses (N, C) logits and their calibrated probabilities against (N,) true class numbers; N at least 1."""
    scores = score(logits, labels, classes)
    both = (probabilities(logits), calibrated)
    return ClosedSetResult(
        scores=scores,
        intervals=bootstrap(scores.confusion),
        roc_auc=roc_auc(calibrated, labels),
        ece=_pair(expected_calibration_error(each, labels) for each in both),
        brier=_pair(brier_score(each, labels) for each in both),
        pairs=tuple(confused_pairs(scores.confusion, classes, PAIRS)),
    )


def _pair(values: Any) -> tuple[float, float]:
    before, after = values
    return before, after


@dataclass(frozen=True)
class OpenSetResult:
    """How well the known are told from strangers: by the threshold that is stored, and by every other."""

    score: ScoreKind
    threshold: Threshold | None  # the stored one
    known: int
    accepted: float | None  # share of the known that the stored threshold takes for ours
    identified: float | None  # share of the known that it takes for ours and that are named right
    impostors: int
    impostors_accepted: int | None  # by the stored threshold
    false_accept: tuple[float, float, float] | None  # share of the strangers, low and high end of its 95 % interval
    expected: tuple[float, float] | None  # where that share was to lie, by how the threshold was set; None: no telling
    rates: Identification | None  # None without strangers
    known_scores: NDArray[np.float64]  # (N,)
    impostor_scores: NDArray[np.float64]  # (M,)

    @property
    def verdicts(self) -> Bools:
        """Which of the known the stored threshold takes for ours, (N,); all where there is none."""
        if self.threshold is None:
            return np.ones(self.known, bool)
        return self.threshold.accepts(self.known_scores)

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON can hold; the curve is there with strangers only."""
        plain: dict[str, Any] = {
            "score": self.score,
            "threshold": self.threshold and self.threshold.to_plain(),
            "accepted": self.accepted,
            "identified": self.identified,
        }
        if self.rates is None:
            return plain
        if self.false_accept is not None:
            share, *interval = self.false_accept
            plain |= {"false_accept_expected": self.expected and list(self.expected)}
            plain |= {"strangers_accepted": self.impostors_accepted, "false_accept": share, "false_accept_interval": interval}
        return plain | {
            "strangers": self.impostors,
            "points": [asdict(point) for point in self.rates.points],
            "curve": {
                "false_accept": self.rates.curve_false_accept.tolist(),
                "identified": self.rates.curve_identified.tolist(),
            },
        }


def open_set_result(
    calibration: Calibration, known: Outputs, labels: Ints, impostors: Outputs | None, *, others: bool = True
) -> OpenSetResult:
    """Holds a judgement against the known, of true classes `labels` (N,), and against strangers.

    `others`: they are not those that its threshold was set by.
    """
    threshold = calibration.threshold
    kind: ScoreKind = threshold.score if threshold else "probability"
    right = known.logits.argmax(axis=1) == labels
    ours = known_scores(kind, known, calibration.gallery)
    theirs = np.empty(0) if impostors is None else known_scores(kind, impostors, calibration.gallery)
    accepted = None if threshold is None else threshold.accepts(ours)
    let_in = None if threshold is None or impostors is None else int(threshold.accepts(theirs).sum())
    return OpenSetResult(
        score=kind,
        threshold=threshold,
        known=len(ours),
        accepted=None if accepted is None else float(accepted.mean()),
        identified=None if accepted is None else float((accepted & right).mean()),
        impostors=len(theirs),
        impostors_accepted=let_in,
        false_accept=None if let_in is None else (let_in / len(theirs), *wilson(let_in, len(theirs))),
        expected=threshold.expected(len(theirs)) if threshold and others else None,
        rates=None if impostors is None else identification_rates(ours, right, theirs),
        known_scores=ours,
        impostor_scores=theirs,
    )
