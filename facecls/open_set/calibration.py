"""Calibration temperature and rejection threshold of a trained classifier.

Applying a stored calibration needs numpy only; `facecls.open_set.fit` fits one.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.open_set.outputs import Outputs
from facecls.open_set.scores import SCORES, Gallery, open_set_scores
from facecls.open_set.temperature import TEMPERATURE_RANGE, Floats, probabilities
from facecls.open_set.thresholds import Bools, Threshold
from facecls.text import plural

_LOW_TRUE_ACCEPT = 0.8  # below it, the description names the setting that raises it


@dataclass(frozen=True)
class Calibration:
    """Fitted after training on held-out images, and applied by `eval` and `predict`."""

    temperature: float  # logits are divided by it
    ece: tuple[float, float] | None  # expected calibration error on the validation images, before and after
    n: int  # validation images
    threshold: Threshold | None  # None: no image is rejected
    gallery: Gallery | None  # None if the threshold's score needs none

    def probabilities(self, logits: Floats) -> NDArray[np.float64]:
        """Calibrated probabilities (N, C) of logits (N, C)."""
        return probabilities(logits, self.temperature)

    def accepts(self, outputs: Outputs) -> Bools:
        """Which of N images are accepted as known, (N,); all of them without a threshold."""
        if self.threshold is None:
            return np.ones(len(outputs.logits), bool)
        return self.threshold.accepts(open_set_scores(self.threshold.score, outputs, self.gallery))

    def to_plain(self) -> dict[str, Any]:
        """Plain values, except for the arrays of `gallery`."""
        return {
            "temperature": self.temperature,
            "ece": self.ece,
            "n": self.n,
            "threshold": self.threshold and self.threshold.to_plain(),
            "gallery": self.gallery
            and {"vectors": self.gallery.vectors, "labels": self.gallery.labels, "neighbours": self.gallery.neighbours},
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Calibration":
        """The inverse of `to_plain`."""
        threshold = plain["threshold"] and Threshold.from_plain(plain["threshold"])
        return cls(**plain | {"threshold": threshold, "gallery": plain["gallery"] and Gallery(**plain["gallery"])})


UNCALIBRATED = Calibration(temperature=1.0, ece=None, n=0, threshold=None, gallery=None)
"""Used until a calibration is fitted: softmax probabilities as they are, no image rejected."""


def describe(calibration: Calibration) -> list[str]:
    """One line about the temperature and one about the threshold, if there is one."""
    assert calibration.ece is not None
    before, after = calibration.ece
    at_end = any(math.isclose(calibration.temperature, end) for end in TEMPERATURE_RANGE)
    lines = [
        f"calibration: temperature {calibration.temperature:.3g}{' (end of the search range)' if at_end else ''}, "
        f"ECE {before:.3f} -> {after:.3f} on {plural(calibration.n, 'validation image')}"
    ]
    return lines if calibration.threshold is None else [*lines, explain_threshold(calibration.threshold)]


def explain_threshold(threshold: Threshold) -> str:
    """The threshold, its false accept rate (FAR) with what it was estimated on, and its true accept rate, in one line."""
    head = f"rejection threshold {threshold.value:.3g} ({SCORES[threshold.score]})"
    accepted = f"{100 * threshold.true_accept_rate:.1f} % of"
    if threshold.source == "validation":
        far = "FAR unknown"
        if threshold.synthetic_accept_rate is not None:
            far = f"{100 * threshold.synthetic_accept_rate:.1f} % FAR on synthetic impostors"
        images = plural(threshold.n, "validation image")
        return f"{head}: {accepted} {images} accepted; {far} (`unknown.target_false_accept` not applied)"
    assert threshold.target_false_accept is not None
    basis = []
    if threshold.source == "synthetic_impostors":
        basis.append(f"made from {plural(threshold.synthetic_sources or 0, 'image')}")
    if threshold.interval is not None:
        low, high = threshold.interval
        basis.append(f"95 % CI {_percent(low)}-{_percent(high)} %")
    if threshold.source == "synthetic_impostors":
        impostors = f"{plural(threshold.n, 'synthetic impostor')} ({'; '.join(basis)})"
    else:
        impostors = ", ".join([plural(threshold.n, "unknown image"), *basis])
    raise_it = "" if threshold.true_accept_rate >= _LOW_TRUE_ACCEPT else ", more with a higher `unknown.target_false_accept`"
    return (
        f"{head}: {100 * threshold.target_false_accept:.3g} % FAR on {impostors}; "
        f"{accepted} known validation images accepted{raise_it}"
    )


def _percent(share: float) -> str:
    # Two digits would print 99.5 and more as 1e+02.
    return f"{100 * share:.2g}" if share < 0.995 else f"{100 * share:.3g}"
