"""Open-set identification: detection and identification rate (DIR) against false accept rate (FAR)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.open_set.temperature import Floats
from facecls.open_set.thresholds import Bools, impostors_needed, threshold_for


@dataclass(frozen=True)
class OperatingPoint:
    """DIR and FAR at the threshold for one target FAR."""

    target_false_accept: float
    threshold: float
    identification_rate: float  # DIR: share of the known images that are accepted and correctly classified
    false_accept_rate: float  # FAR: share of the impostors that are accepted


@dataclass(frozen=True)
class IdentificationRates:
    """Some operating points, and the whole curve of DIR against FAR."""

    points: tuple[OperatingPoint, ...]
    false_accept_rates: NDArray[np.float64]  # (P,), rising from 0 to 1
    identification_rates: NDArray[np.float64]  # (P,), rising to the accuracy without a threshold


def identification_rates(
    known_scores: Floats, correct: Bools, impostor_scores: Floats, targets: Sequence[float] = (0.01, 0.05, 0.10)
) -> IdentificationRates:
    """DIR against FAR (Phillips, Grother and Micheals 2011, open-set ROC).

    `known_scores` are (N,), `correct` (N,) is true for correctly classified images, `impostor_scores` are (M,). The
    thresholds are set on these impostors, so their FAR is at most the target by construction. Targets that need more than
    M impostors are left out.
    """
    known = np.asarray(known_scores, dtype=np.float64)
    impostors = np.sort(np.asarray(impostor_scores, dtype=np.float64))
    assert len(known) == len(correct) > 0 < len(impostors)
    identified = np.sort(known[np.asarray(correct, dtype=bool)])

    def rates(thresholds: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return _share_above(thresholds, identified, len(known)), _share_above(thresholds, impostors, len(impostors))

    thresholds = {target: threshold_for(impostors, target) for target in targets if len(impostors) >= impostors_needed(target)}
    points = tuple(OperatingPoint(target, threshold, *map(float, rates(threshold))) for target, threshold in thresholds.items())
    identification, false_accept = rates(np.append(np.unique(impostors)[::-1], -np.inf))
    return IdentificationRates(points, false_accept, identification)


def _share_above(thresholds: Any, ascending: NDArray[np.float64], total: int) -> NDArray[np.float64]:
    return np.asarray((len(ascending) - np.searchsorted(ascending, thresholds, side="right")) / total)
