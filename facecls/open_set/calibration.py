"""Calibration temperature and rejection threshold of a trained classifier.

Applying a stored calibration needs numpy only; `facecls.open_set.fit` fits one.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from facecls.open_set.chance import ChanceTest
from facecls.open_set.outputs import Outputs
from facecls.open_set.scores import SCORES, Gallery, open_set_scores
from facecls.open_set.temperature import MIN_IMAGES, TEMPERATURE_RANGE, Floats, probabilities
from facecls.open_set.thresholds import HIGH_FALSE_ACCEPT, Bools, Threshold
from facecls.text import plural

Scaling: TypeAlias = Literal["applied", "not_better", "too_few_images"]

_LOW_TRUE_ACCEPT = 0.8  # below this rate the description names the setting that raises it


@dataclass(frozen=True)
class Calibration:
    """Fitted after training on held-out images, and applied by `eval` and `predict`."""

    temperature: float  # logits are divided by it
    ece: tuple[float, float] | None  # expected calibration error on the validation images, before and after
    n: int  # validation images
    threshold: Threshold | None  # None: no image is rejected
    gallery: Gallery | None  # None if the threshold's score needs none
    scaling: Scaling = "applied"  # unless it is, `temperature` is 1 for this reason
    chance: ChanceTest | None = None  # on the validation images; if it is not passed, there is no threshold

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
        gallery = self.gallery and dict(vars(self.gallery))  # asdict would copy the arrays
        chance = self.chance and dict(vars(self.chance))
        return vars(self) | {"threshold": self.threshold and self.threshold.to_plain(), "gallery": gallery, "chance": chance}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Calibration":
        """The inverse of `to_plain`."""
        threshold = plain["threshold"] and Threshold.from_plain(plain["threshold"])
        gallery, chance = plain["gallery"], plain.get("chance")  # `chance` is not in older checkpoints
        made = {"threshold": threshold, "gallery": gallery and Gallery(**gallery), "chance": chance and ChanceTest(**chance)}
        return cls(**plain | made)


UNCALIBRATED = Calibration(temperature=1.0, ece=None, n=0, threshold=None, gallery=None)
"""Used until a calibration is fitted: softmax probabilities as they are, no image rejected."""


def describe(calibration: Calibration) -> list[str]:
    """One line about the temperature and one about the threshold, if there is one."""
    assert calibration.ece is not None
    before, after = calibration.ece
    at_end = any(math.isclose(calibration.temperature, end) for end in TEMPERATURE_RANGE)
    images = plural(calibration.n, "validation image")
    line = {
        "applied": f"temperature {calibration.temperature:.3g}{' (end of the search range)' if at_end else ''}, "
        f"ECE {before:.3f} -> {after:.3f} on {images}",
        "not_better": f"none (temperature scaling does not lower NLL and ECE of {images}), ECE {after:.3f}",
        "too_few_images": f"none (too few validation images), ECE {after:.3f} on {images}",
    }[calibration.scaling]
    lines = [f"calibration: {line}"]
    return lines if calibration.threshold is None else [*lines, explain_threshold(calibration.threshold)]


def warnings_about(calibration: Calibration, false_accept_rate: float | None = None) -> list[str]:
    """What a user must know before relying on the probabilities and rejections, one line each.

    `false_accept_rate` was measured on further impostors; without it the threshold's own estimate counts.
    """
    lines = []
    if calibration.scaling == "too_few_images":
        images = f"{plural(calibration.n, 'validation image')} {'is' if calibration.n == 1 else 'are'}"
        lines.append(f"{images} too few for temperature scaling, which needs {MIN_IMAGES}: probabilities are not calibrated")
    test = calibration.chance
    if test is not None and not test.passed:
        lines.append(
            f"not better than chance: accuracy {100 * test.accuracy:.1f} % on {plural(calibration.n, 'validation image')}, "
            f"always predicting the largest class gives {100 * test.majority_share:.1f} % (p = {test.p_value:.2g}); "
            "no rejection threshold"
        )
    return lines + rejection_warnings(calibration.threshold, false_accept_rate)


def rejection_warnings(threshold: Threshold | None, false_accept_rate: float | None = None) -> list[str]:
    """One line if the threshold accepts more than a share HIGH_FALSE_ACCEPT of impostors; the rate as in `warnings_about`."""
    if threshold is None:
        return []
    share = threshold.false_accept_rate if false_accept_rate is None else false_accept_rate
    if share is None or share <= HIGH_FALSE_ACCEPT:
        return []
    return [f"cannot reject unknown people: about {100 * share:.0f} % of impostors would be accepted"]


def explain_threshold(threshold: Threshold) -> str:
    """One line: the threshold, its false accept rate (FAR) and on which images, its true accept rate (TAR)."""
    head = f"rejection threshold {threshold.value:.3g} ({SCORES[threshold.score]})"
    tar = f"{100 * threshold.true_accept_rate:.1f} % TAR on"
    if threshold.source == "validation":
        share = threshold.synthetic_accept_rate
        far = "FAR unknown" if share is None else f"{100 * share:.1f} % FAR on synthetic impostors"
        return f"{head}: {tar} {plural(threshold.n, 'val image')}; {far} (`unknown.target_false_accept` not applied)"
    assert threshold.target_false_accept is not None
    impostors, details = plural(threshold.n, "impostor"), []
    if threshold.synthetic_sources is not None:
        impostors = plural(threshold.n, "synthetic impostor")
        details.append(f"made from {plural(threshold.synthetic_sources, 'image')}")
    if threshold.interval is not None:
        low, high = threshold.interval
        details.append(f"95 % CI {_percent(low)}-{_percent(high)} %")
    more = "" if threshold.true_accept_rate >= _LOW_TRUE_ACCEPT else ", more with a higher `unknown.target_false_accept`"
    return f"{head}: {100 * threshold.target_false_accept:.3g} % FAR on {impostors} ({'; '.join(details)}), {tar} val{more}"


def _percent(share: float) -> str:
    # Two digits would print 99.5 and more as 1e+02.
    return f"{100 * share:.2g}" if share < 0.995 else f"{100 * share:.3g}"
