"""Result records of an evaluation: closed-set on known classes, open-set against impostors."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.evaluation.intervals import bootstrap_intervals, wilson_interval
from facecls.evaluation.metrics import ConfusedPair, Metrics, brier_score, compute_metrics, confused_pairs, roc_auc
from facecls.open_set.calibration import Calibration
from facecls.open_set.outputs import Outputs
from facecls.open_set.rates import IdentificationRates, identification_rates
from facecls.open_set.scores import ScoreKind, open_set_scores
from facecls.open_set.temperature import Floats, Ints, expected_calibration_error, probabilities
from facecls.open_set.thresholds import Bools, Threshold


@dataclass(frozen=True)
class ClosedSetResult:
    """Metrics on images of known classes, with confidence intervals and calibration errors."""

    metrics: Metrics
    intervals: dict[str, tuple[float, float]]  # 95 %, by name of the metric
    roc_auc: float | None  # one-vs-rest; None if all images are of one class
    ece: tuple[float, float]  # expected calibration error, before and after calibration
    brier: tuple[float, float]  # Brier score in [0, 2], before and after calibration
    pairs: tuple[ConfusedPair, ...]  # the most frequent errors

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.metrics.to_plain() | {
            "intervals": self.intervals,
            "roc_auc": self.roc_auc,
            "ece": {"before": self.ece[0], "after": self.ece[1]},
            "brier": {"before": self.brier[0], "after": self.brier[1]},
            "confused_pairs": [asdict(pair) for pair in self.pairs],
        }


def closed_set_result(logits: Floats, calibrated: Floats, labels: Ints, classes: Sequence[str]) -> ClosedSetResult:
    """Evaluates (N, C) logits and calibrated probabilities against (N,) true class numbers; N at least 1."""
    metrics, before = compute_metrics(logits, labels, classes), probabilities(logits)
    accuracy = wilson_interval(int(np.trace(metrics.confusion)), metrics.n)
    return ClosedSetResult(
        metrics=metrics,
        intervals={"accuracy": accuracy} | bootstrap_intervals(metrics.confusion),
        roc_auc=roc_auc(calibrated, labels),
        ece=(expected_calibration_error(before, labels), expected_calibration_error(calibrated, labels)),
        brier=(brier_score(before, labels), brier_score(calibrated, labels)),
        pairs=tuple(confused_pairs(metrics.confusion, classes)),
    )


@dataclass(frozen=True)
class OpenSetResult:
    """Identification of N known images and rejection of M impostors, at the stored threshold and at all others.

    Rates at the stored threshold are None without one; those of impostors are None without impostors.
    """

    score: ScoreKind
    known_scores: NDArray[np.float64]  # (N,)
    impostor_scores: NDArray[np.float64]  # (M,)
    threshold: Threshold | None = None  # the stored one
    true_accept_rate: float | None = None  # TAR: share of the known images that are accepted
    identification_rate: float | None = None  # DIR: share of the known images accepted and correctly classified
    impostors_accepted: int | None = None
    false_accept_rate: float | None = None  # FAR: share of the impostors that are accepted
    false_accept_interval: tuple[float, float] | None = None  # its 95 % confidence interval (Wilson)
    false_accept_prediction_interval: tuple[float, float] | None = None  # 95 %, see Threshold.prediction_interval
    rates: IdentificationRates | None = None  # at all thresholds; None without impostors

    @property
    def impostors(self) -> int:
        """Number of impostors."""
        return len(self.impostor_scores)

    @property
    def accepted(self) -> Bools:
        """Which of the known images the stored threshold accepts, (N,); all of them without one."""
        if self.threshold is None:
            return np.ones(len(self.known_scores), bool)
        return self.threshold.accepts(self.known_scores)

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON; keys about impostors are left out if there are none."""
        names = ["true_accept_rate", "identification_rate"]
        if self.rates is not None and self.threshold is not None:
            names += ["impostors_accepted", "false_accept_rate", "false_accept_interval", "false_accept_prediction_interval"]
        plain = {"score": self.score, "threshold": self.threshold and self.threshold.to_plain()}
        plain |= {name: getattr(self, name) for name in names}
        if self.rates is None:
            return plain
        return plain | {
            "impostors": self.impostors,
            "operating_points": [asdict(point) for point in self.rates.points],
            "curve": {
                "false_accept_rate": self.rates.false_accept_rates.tolist(),
                "identification_rate": self.rates.identification_rates.tolist(),
            },
        }


def open_set_result(
    calibration: Calibration, known: Outputs, labels: Ints, impostors: Outputs | None, *, held_out: bool = True
) -> OpenSetResult:
    """Evaluates a calibration on known images, of true classes `labels` (N,), and on impostors.

    `held_out`: the threshold was not set on these impostors.
    """
    threshold = calibration.threshold
    kind: ScoreKind = threshold.score if threshold else "probability"
    correct = known.logits.argmax(axis=1) == labels
    known_scores = open_set_scores(kind, known, calibration.gallery)
    impostor_scores = np.empty(0) if impostors is None else open_set_scores(kind, impostors, calibration.gallery)
    rates = None if impostors is None else identification_rates(known_scores, correct, impostor_scores)
    result = OpenSetResult(kind, known_scores, impostor_scores, threshold, rates=rates)
    if threshold is None:
        return result
    accepted = result.accepted
    result = replace(result, true_accept_rate=float(accepted.mean()), identification_rate=float((accepted & correct).mean()))
    if impostors is None:
        return result
    count = int(threshold.accepts(impostor_scores).sum())
    return replace(
        result,
        impostors_accepted=count,
        false_accept_rate=count / result.impostors,
        false_accept_interval=wilson_interval(count, result.impostors),
        false_accept_prediction_interval=threshold.prediction_interval(result.impostors) if held_out else None,
    )
