"""A cross-validation's folds put together: their spread, their pictures in one evaluation, and a page of it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls import checkpoint
from facecls.checkpoint import Checkpoint
from facecls.data.dataset import Listing
from facecls.data.load import load_part
from facecls.device import Compute
from facecls.evaluation.evaluate import Scored, score_checkpoint
from facecls.evaluation.result import OpenSet, assess
from facecls.open_set.outputs import Outputs
from facecls.progress import Progress
from facecls.run import Run

FIGURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


@dataclass(frozen=True)
class Fold:
    """One fold's network on the pictures that it was not trained on."""

    number: int  # counted from 1
    run: Run
    checkpoint: Checkpoint
    scored: Scored

    @property
    def n(self) -> int:
        return len(self.scored.part)

    @property
    def figures(self) -> dict[str, float]:
        return {name: float(getattr(self.scored.assessment.scores, name)) for name in FIGURES}


@dataclass(frozen=True)
class CrossValidation:
    """All folds, and one evaluation of all their pictures, each scored once.

    Thresholds differ from fold to fold, so the evaluation has none, nor features, which do not compare.
    """

    folds: tuple[Fold, ...]
    pooled: Scored
    calibrated: NDArray[np.float64]  # (N, C), each picture by its own fold's temperature

    def spread(self, name: str) -> tuple[float, float]:
        """The mean of a figure over the folds and its standard deviation."""
        values = [fold.figures[name] for fold in self.folds]
        return statistics.mean(values), statistics.stdev(values)

    def to_plain(self) -> dict[str, Any]:
        """As plain values that JSON can hold."""
        return {
            "folds": [{"fold": fold.number, "n": fold.n} | fold.figures for fold in self.folds],
            "mean": {name: self.spread(name)[0] for name in FIGURES},
            "deviation": {name: self.spread(name)[1] for name in FIGURES},
            "pooled": self.pooled.to_plain(),
        }


def score_folds(runs: Sequence[Run], compute: Compute, progress: Progress) -> CrossValidation:
    """Scores each fold's best.pt on the fold's val part."""
    folds = []
    for number, run in enumerate(runs, 1):
        best = checkpoint.read(run.best)
        folds.append(Fold(number, run, best, score_checkpoint(best, compute, progress, split_file=run.kept_split)))
    calibrated = np.concatenate([each.checkpoint.judged().probabilities(each.scored.outputs.logits) for each in folds])
    return CrossValidation(tuple(folds), _pooled(folds, calibrated, compute, progress), calibrated)


def _pooled(folds: Sequence[Fold], calibrated: NDArray[np.float64], compute: Compute, progress: Progress) -> Scored:
    parts = [fold.scored for fold in folds]
    logits = np.concatenate([part.outputs.logits for part in parts])
    labels = np.concatenate([part.part.listing.labels for part in parts])
    paths = parts[0].part.listing.paths
    for part in parts[1:]:
        paths += part.part.listing.paths
    first = folds[0].checkpoint
    return Scored(
        assessment=assess(logits, calibrated, labels, first.classes),
        open_set=_pooled_open_set([part.open_set for part in parts], np.array([fold.n for fold in folds])),
        groups=None,
        part=load_part("all folds", Listing(paths, labels), first.classes, first.config.data, progress.bar, compute.device),
        outputs=Outputs(logits, np.zeros((len(logits), 0), np.float32)),
        strangers=None,
        skipped=tuple(error for part in parts for error in part.skipped),
        seconds=sum(part.seconds for part in parts),
    )


def _pooled_open_set(each: Sequence[OpenSet], sizes: NDArray[np.int64]) -> OpenSet:
    def mean(name: str) -> float | None:
        values = [getattr(one, name) for one in each]
        return None if any(value is None for value in values) else float(np.average(values, weights=sizes))

    return OpenSet(
        score=each[0].score,
        threshold=None,
        known=int(sizes.sum()),
        accepted=mean("accepted"),
        identified=mean("identified"),
        strangers=0,
        strangers_accepted=None,
        false_accept=None,
        expected=None,
        rates=None,
        known_scores=np.concatenate([one.known_scores for one in each]),
        stranger_scores=np.empty(0),
    )
