"""How well strangers are told from the known at every threshold: open-set identification."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.open_set.temperature import Floats
from facecls.open_set.thresholds import Bools, impostors_needed, threshold_for


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold does: strangers let in against known people let in and named right."""

    rate: float  # the false accept rate that was asked for
    threshold: float
    identified: float  # known images accepted and named right, as a share of all known ones
    false_accept: float  # strangers accepted, as a share of all strangers


@dataclass(frozen=True)
class Identification:
    """Open-set identification: operating points, and the whole curve from no stranger let in to all of them."""

    points: tuple[OperatingPoint, ...]
    curve_false_accept: NDArray[np.float64]  # (P,), rising from 0 to 1
    curve_identified: NDArray[np.float64]  # (P,), rising to the accuracy without a threshold


def identification_rates(
    known_scores: Floats,
    known_correct: Bools,
    impostor_scores: Floats,
    rates: Sequence[float] = (0.01, 0.05, 0.10),
    calibration_scores: Floats | None = None,
) -> Identification:
    """Detection and identification rate against false accept rate (Phillips, Grother and Micheals 2011, open-set ROC).

    `known_scores` (N,), `known_correct` (N,): the right name came first; `stranger_scores` (M,). Thresholds are set by
    `calibration_scores`, those of other strangers, or without them by the same strangers: then `false_accept` stays
    below the rate by construction. Rates for which the strangers are too few are left out.
    """
    known = np.asarray(known_scores, dtype=np.float64)
    impostors = np.sort(np.asarray(impostor_scores, dtype=np.float64))
    assert len(known) == len(known_correct) > 0 < len(impostors)
    right = np.sort(known[np.asarray(known_correct, dtype=bool)])
    calibration = impostors if calibration_scores is None else np.asarray(calibration_scores, dtype=np.float64)

    operate = [(rate, threshold_for(calibration, rate)) for rate in rates if len(calibration) >= impostors_needed(rate)]
    points = tuple(
        OperatingPoint(
            rate,
            threshold,
            float(_share_above(threshold, right, len(known))),
            float(_share_above(threshold, impostors, len(impostors))),
        )
        for rate, threshold in operate
    )
    steps = np.append(np.unique(impostors)[::-1], -np.inf)
    return Identification(points, _share_above(steps, impostors, len(impostors)), _share_above(steps, right, len(known)))


def _share_above(thresholds: Any, ascending: NDArray[np.float64], of: int) -> NDArray[np.float64]:
    return np.asarray((len(ascending) - np.searchsorted(ascending, thresholds, side="right")) / of)
