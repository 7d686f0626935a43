"""Evaluates the folds of a cross-validation, one by one and pooled."""

import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from facecls.open_set.calibration import Calibration
from facecls.open_set.outputs import Outputs
from facecls.progress import Reporter
from facecls.run import Run

METRICS = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


@dataclass(frozen=True)
class Fold:
    """The evaluation of one fold's network on the images held out from its training."""

    number: int  # counted from 1
    run: Run
    checkpoint: Checkpoint  # with the calibration of `without_own_fold`
    evaluation: Evaluation

    @property
    def n(self) -> int:
        return len(self.evaluation.split)

    @property
    def metrics(self) -> dict[str, float]:
        return {name: float(getattr(self.evaluation.closed_set.metrics, name)) for name in METRICS}


@dataclass(frozen=True, repr=False)
class CrossValidation:
    """All folds, and the pooled evaluation of all images, each predicted by the fold that held it out.

    Thresholds and features are not comparable between folds, so `pooled` has neither.
    """

    folds: tuple[Fold, ...]
    pooled: Evaluation
    calibrated: NDArray[np.float64]  # (N, C), by the temperature of each image's fold

    def __repr__(self) -> str:
        mean, deviation = self.spread("accuracy")
        return f"<CrossValidation of {len(self.folds)} folds: accuracy {mean:.1%}, standard deviation {deviation:.1%}>"

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


def evaluate_folds(runs: Sequence[Run], device: Device, progress: Reporter) -> CrossValidation:
    """Evaluates each fold's best.pt on the fold, which it was not selected on, with a calibration fitted on the others."""
    found = [checkpoint.read(run.best) for run in runs]
    calibrations = without_own_fold([each.calibration_for() for each in found])
    folds = []
    for number, (run, best, calibration) in enumerate(zip(runs, found, calibrations, strict=True), 1):
        best = replace(best, calibration=calibration)
        evaluation = evaluate_checkpoint(best, device, progress, split_file=run.kept_split, split="val")
        folds.append(Fold(number, run, best, replace(evaluation, fitted=None)))
    calibrated = np.concatenate(
        [each.checkpoint.calibration_for().probabilities(each.evaluation.outputs.logits) for each in folds]
    )
    return CrossValidation(tuple(folds), _pooled(folds, calibrated, device, progress), calibrated)


def without_own_fold(calibrations: Sequence[Calibration]) -> list[Calibration]:
    """Each fold's calibration with the geometric mean of the other folds' temperatures and the mean of their thresholds.

    A fold's own temperature and threshold are fitted on its images, and would be optimistic there. Networks trained alike have
    similar ones. A fold without a threshold, or whose other folds have none, gets none.
    """
    fitted = []
    for number, own in enumerate(calibrations):
        others = [each for other, each in enumerate(calibrations) if other != number]
        thresholds = [each.threshold.value for each in others if each.threshold is not None]
        threshold = replace(own.threshold, value=statistics.mean(thresholds)) if own.threshold and thresholds else None
        temperature = statistics.geometric_mean([each.temperature for each in others])
        fitted.append(replace(own, temperature=temperature, threshold=threshold))
    return fitted


def _pooled(folds: Sequence[Fold], calibrated: NDArray[np.float64], device: Device, progress: Reporter) -> Evaluation:
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
