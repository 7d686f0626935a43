"""A cross-validation's folds put together: their spread, their images in one evaluation, and a page of it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
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

FIGURES = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


@dataclass(frozen=True)
class Fold:
    """One fold's network on the images that it was not trained on."""

    number: int  # counted from 1
    run: Run
    checkpoint: Checkpoint
    evaluation: Evaluation

    @property
    def n(self) -> int:
        return len(self.evaluation.split)

    @property
    def figures(self) -> dict[str, float]:
        return {name: float(getattr(self.evaluation.closed_set.scores, name)) for name in FIGURES}


@dataclass(frozen=True)
class CrossValidation:
    """All folds, and one evaluation of all their images, each scored once.

    Thresholds differ from fold to fold, so the evaluation has none, nor features, which do not compare.
    """

    folds: tuple[Fold, ...]
    pooled: Evaluation
    calibrated: NDArray[np.float64]  # (N, C), each image by its own fold's temperature

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


def evaluate_folds(runs: Sequence[Run], device: Device, progress: Progress) -> CrossValidation:
    """Scores each fold's best.pt on the fold's val part."""
    folds = []
    for number, run in enumerate(runs, 1):
        best = checkpoint.read(run.best)
        folds.append(Fold(number, run, best, evaluate_checkpoint(best, device, progress, split_file=run.kept_split)))
    calibrated = np.concatenate(
        [each.checkpoint.calibration_for().probabilities(each.evaluation.outputs.logits) for each in folds]
    )
    return CrossValidation(tuple(folds), _pooled(folds, calibrated, device, progress), calibrated)


def _pooled(folds: Sequence[Fold], calibrated: NDArray[np.float64], device: Device, progress: Progress) -> Evaluation:
    splits = [fold.evaluation for fold in folds]
    logits = np.concatenate([split.outputs.logits for split in splits])
    labels = np.concatenate([split.split.image_list.labels for split in splits])
    paths = splits[0].split.image_list.paths
    for split in splits[1:]:
        paths += split.split.image_list.paths
    first = folds[0].checkpoint
    return Evaluation(
        closed_set=closed_set_result(logits, calibrated, labels, first.classes),
        open_set=_pooled_open_set([split.open_set for split in splits], np.array([fold.n for fold in folds])),
        groups=None,
        split=load_split(
            "all folds", ImageList(paths, labels), first.classes, first.config.data, progress.bar, device.torch_device
        ),
        outputs=Outputs(logits, np.zeros((len(logits), 0), np.float32)),
        impostors=None,
        skipped=tuple(error for split in splits for error in split.skipped),
        seconds=sum(split.seconds for split in splits),
    )


def _pooled_open_set(each: Sequence[OpenSetResult], sizes: NDArray[np.int64]) -> OpenSetResult:
    def mean(name: str) -> float | None:
        values = [getattr(one, name) for one in each]
        return None if any(value is None for value in values) else float(np.average(values, weights=sizes))

    return OpenSetResult(
        score=each[0].score,
        threshold=None,
        known=int(sizes.sum()),
        accepted=mean("accepted"),
        identified=mean("identified"),
        impostors=0,
        impostors_accepted=None,
        false_accept=None,
        expected=None,
        rates=None,
        known_scores=np.concatenate([one.known_scores for one in each]),
        impostor_scores=np.empty(0),
    )
