"""Evaluates the folds of a cross-validation, one by one and pooled."""

import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls import checkpoint
from facecls.checkpoint import Checkpoint
from facecls.data.listing import ImageList
from facecls.data.load import load_split
from facecls.device import Device
from facecls.evaluation.evaluate import Evaluation, evaluate_checkpoint
from facecls.evaluation.result import OpenSetResult, closed_set_result
from facecls.open_set.outputs import Outputs
from facecls.progress import Progress
from facecls.run import Run

METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


@dataclass(frozen=True)
class Fold:
    """The evaluation of one fold's network on the images of the fold, which it was neither trained nor selected on."""

    number: int  # counted from 1
    run: Run
    checkpoint: Checkpoint
    evaluation: Evaluation

    @property
    def n(self) -> int:
        return len(self.evaluation.split)

    @property
    def metrics(self) -> dict[str, float]:
        return {name: float(getattr(self.evaluation.closed_set.metrics, name)) for name in METRICS}


@dataclass(frozen=True)
class CrossValidation:
    """All folds, and the pooled evaluation of all images, each predicted by the fold that held it out.

    Thresholds and features are not comparable between folds, so `pooled` has neither.
    """

    folds: tuple[Fold, ...]
    pooled: Evaluation
    calibrated: NDArray[np.float64]  # (N, C), by the temperature of each image's fold

    def spread(self, name: str) -> tuple[float, float]:
        """The mean and the sample standard deviation of a metric over the folds."""
        values = [fold.metrics[name] for fold in self.folds]
        return statistics.mean(values), statistics.stdev(values)

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "folds": [{"fold": fold.number, "n": fold.n} | fold.metrics for fold in self.folds],
            "mean": {name: self.spread(name)[0] for name in METRICS},
            "deviation": {name: self.spread(name)[1] for name in METRICS},
            "pooled": self.pooled.to_plain(),
        }


def evaluate_folds(runs: Sequence[Run], device: Device, progress: Progress) -> CrossValidation:
    """Evaluates each fold's best.pt on the fold, its test split."""
    folds = []
    for number, run in enumerate(runs, 1):
        best = checkpoint.read(run.best)
        folds.append(
            Fold(number, run, best, evaluate_checkpoint(best, device, progress, split_file=run.kept_split, split="test"))
        )
    calibrated = np.concatenate(
        [each.checkpoint.calibration_for().probabilities(each.evaluation.outputs.logits) for each in folds]
    )
    return CrossValidation(tuple(folds), _pooled(folds, calibrated, device, progress), calibrated)


def _pooled(folds: Sequence[Fold], calibrated: NDArray[np.float64], device: Device, progress: Progress) -> Evaluation:
    evaluations = [fold.evaluation for fold in folds]
    logits = np.concatenate([each.outputs.logits for each in evaluations])
    labels = np.concatenate([each.split.image_list.labels for each in evaluations])
    paths = reduce(operator.add, (each.split.image_list.paths for each in evaluations))
    first = folds[0].checkpoint
    return Evaluation(
        closed_set=closed_set_result(logits, calibrated, labels, first.classes),
        open_set=_pooled_open_set([each.open_set for each in evaluations], [fold.n for fold in folds]),
        subgroups=None,
        split=load_split(
            "all folds", ImageList(paths, labels), first.classes, first.config.data, progress.bar, device.torch_device
        ),
        outputs=Outputs(logits, np.zeros((len(logits), 0), np.float32)),
        impostors=None,
        skipped=tuple(error for each in evaluations for error in each.skipped),
        seconds=sum(each.seconds for each in evaluations),
    )


def _pooled_open_set(results: Sequence[OpenSetResult], sizes: Sequence[int]) -> OpenSetResult:
    def mean(name: str) -> float | None:
        values = [getattr(result, name) for result in results]
        return None if any(value is None for value in values) else float(np.average(values, weights=sizes))

    return OpenSetResult(
        results[0].score,
        np.concatenate([result.known_scores for result in results]),
        np.empty(0),
        true_accept_rate=mean("true_accept_rate"),
        identification_rate=mean("identification_rate"),
    )
