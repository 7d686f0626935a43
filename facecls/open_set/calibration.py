"""What a trained classifier knows of itself: how sure it may be, and when an image shows none of its classes.

Applying a judgement needs numpy and torch; making one loads scipy for an interval.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.config.schema import UnknownConfig
from facecls.open_set.outputs import ImpostorOutputs, Outputs
from facecls.open_set.scores import SCORES, Gallery, known_scores
from facecls.open_set.temperature import TEMPERATURES, Floats, Ints, expected_calibration_error, fit_temperature, probabilities
from facecls.open_set.thresholds import Bools, Threshold, impostors_needed

KEEP = 0.95  # share of the known that a threshold keeps which nothing but known images has set
_MANY = 0.8  # where fewer of the known are kept, the way to keep more is said
LEAST_KEPT = 0.5  # composites may turn away the rest of the known, not more


@dataclass(frozen=True)
class Calibration:
    """Fitted after training, on images that were held out; applied by everything that names images."""

    temperature: float  # what logits are divided by
    ece: tuple[float, float] | None  # the expected calibration error on val, before and after
    n: int  # images behind both
    threshold: Threshold | None  # None where every image gets a name
    gallery: Gallery | None  # where the threshold's score compares with one

    def probabilities(self, logits: Floats) -> NDArray[np.float64]:
        """(N, C) logits to calibrated probabilities, (N, C)."""
        return probabilities(logits, self.temperature)

    def scores(self, outputs: Outputs) -> NDArray[np.float64]:
        """How much each of N images looks like one of ours, (N,), in the threshold's kind of score."""
        assert self.threshold is not None
        return known_scores(self.threshold.score, outputs, self.gallery)

    def accepts(self, outputs: Outputs) -> Bools:
        """Which of N images show one of ours, (N,); all of them where there is no threshold."""
        if self.threshold is None:
            return np.ones(len(outputs.logits), bool)
        return self.threshold.accepts(self.scores(outputs))

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON can hold, but for the arrays of `gallery`."""
        return {
            "temperature": self.temperature,
            "ece": self.ece and list(self.ece),
            "n": self.n,
            "threshold": self.threshold and self.threshold.to_plain(),
            "gallery": self.gallery
            and {"vectors": self.gallery.vectors, "labels": self.gallery.labels, "nearest": self.gallery.nearest},
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Calibration":
        """What `to_plain` gave."""
        ece = plain["ece"] and (plain["ece"][0], plain["ece"][1])
        threshold = plain["threshold"] and Threshold.from_plain(plain["threshold"])
        return cls(plain["temperature"], ece, plain["n"], threshold, plain["gallery"] and Gallery(**plain["gallery"]))


UNCALIBRATED = Calibration(temperature=1.0, ece=None, n=0, threshold=None, gallery=None)
"""What holds until there is one: probabilities as they come, every image named."""


def calibrate(
    val: Outputs,
    val_labels: Ints,
    config: UnknownConfig,
    *,
    gallery: Gallery | None = None,
    impostors: Outputs | None = None,
    synthetic_impostors: ImpostorOutputs | None = None,
) -> Calibration:
    """Fits the temperature, and where `unknown.enabled` the threshold, to what the network says of images.

    `gallery` is what the training images' features were enrolled in for `unknown.score`. The threshold is set by the
    strangers. Without them composites of val's images stand in for them, where there are enough for the target and a
    share LEAST_KEPT of val is still kept; else the threshold is set so that a share KEEP of val is. Raises DataError where
    the strangers are too few for `unknown.target_false_accept`.
    """
    temperature = fit_temperature(val.logits, val_labels)
    before, after = (
        expected_calibration_error(probabilities(val.logits, degrees), val_labels) for degrees in (1.0, temperature)
    )
    threshold = None
    if config.enabled:
        known = known_scores(config.score, val, gallery)
        if impostors is not None:
            scores = known_scores(config.score, impostors, gallery)
            threshold = Threshold.from_impostors(config.score, scores, config.target_false_accept, known)
        else:
            threshold = _without_impostors(config, known, synthetic_impostors, gallery)
    return Calibration(temperature, (before, after), len(val_labels), threshold, gallery)


def _without_impostors(
    config: UnknownConfig, known: Floats, synthetic_impostors: ImpostorOutputs | None, gallery: Gallery | None
) -> Threshold:
    score, target = config.score, config.target_false_accept
    if synthetic_impostors is None:
        return Threshold.from_val(score, known, KEEP)
    composed = known_scores(score, synthetic_impostors.outputs, gallery)
    if len(composed) >= impostors_needed(target):
        by_synthetic = Threshold.from_synthetic_impostors(score, composed, synthetic_impostors.sources, target, known)
        # A network that cannot tell its own classes apart that well must not turn most of the known away for it.
        if (by_synthetic.known_kept or 0.0) >= LEAST_KEPT:
            return by_synthetic
    return Threshold.from_val(score, known, KEEP, composed)


def describe(calibration: Calibration) -> list[str]:
    """What a person should know of a judgement, a sentence to a line."""
    assert calibration.ece is not None
    before, after = calibration.ece
    at_the_end = any(math.isclose(calibration.temperature, end) for end in TEMPERATURES)
    lines = [
        f"calibrated on {calibration.n} val images: temperature {calibration.temperature:.3g}"
        f"{' (the end of the range that is searched)' if at_the_end else ''}, "
        f"expected calibration error {before:.3f} before, {after:.3f} after"
    ]
    return lines if calibration.threshold is None else [*lines, explain_threshold(calibration.threshold)]


def explain_threshold(threshold: Threshold) -> str:
    """When an image is called unknown, and what that rests on, in one sentence."""
    head = f"unknown below {threshold.value:.3g} ({SCORES[threshold.score]})"
    kept = "" if threshold.known_kept is None else f"; {100 * threshold.known_kept:.1f} % of val are kept"
    if threshold.known_kept is not None and threshold.known_kept < _MANY:
        kept += ", more with a higher unknown.target_false_accept"
    if threshold.source == "val":
        let_in = threshold.synthetic_accepted
        impostors = "how many strangers get in is not known"
        if let_in is not None:
            impostors = f"of faces composed of three classes' images {100 * let_in:.1f} % get in"
        return f"{head}, set by {threshold.n} val images and not by unknown.target_false_accept{kept}; {impostors}"
    assert threshold.target_false_accept is not None
    aim = f"so that {100 * threshold.target_false_accept:.3g} % of them get in"
    if threshold.interval is not None:
        low, high = threshold.interval
        aim += f" (95 % interval {_percent(low)} to {_percent(high)} %)"
    aim += kept
    if threshold.source == "strangers":
        return f"{head}, set by {threshold.n} images of strangers {aim}"
    if threshold.source == "composites":
        composed = f"{threshold.n} faces composed of three classes' images ({threshold.synthetic_sources} images in all)"
        return f"{head}, set by {composed} {aim}; real strangers may get in more or less often"
    return f"{head}, set by a version of facecls that held classes out {aim}; real strangers get in more often"


def _percent(share: float) -> str:
    # Two digits would write 99.5 and more as 1e+02.
    return f"{100 * share:.2g}" if share < 0.995 else f"{100 * share:.3g}"
