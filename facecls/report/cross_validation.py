"""The HTML page of a cross-validation."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from facecls.config.schema import Config
from facecls.device import Device
from facecls.evaluation.cross_validation import CrossValidation
from facecls.evaluation.gradcam import resized
from facecls.report.examples import ExampleImages, Heatmaps, select_examples
from facecls.report.report import heatmaps_of, render_evaluation, run_summary


def render_cross_validation(validation: CrossValidation, config: Config, device: Device, title: str) -> str:
    """The page of a cross-validation as HTML."""
    pooled, folds, first = validation.pooled, validation.folds, validation.folds[0]
    models = [fold.checkpoint.build(device) for fold in folds]
    maybe = [heatmaps_of(model, fold.checkpoint, fold.evaluation, device) for model, fold in zip(models, folds, strict=True)]
    ends = np.cumsum([fold.n for fold in folds])
    each = [heatmaps for heatmaps, _ in maybe if heatmaps is not None]
    heatmaps = _joined_heatmaps(each, ends, first.checkpoint.config.data.image_size) if each else None
    mean, deviation = validation.spread("accuracy")
    evaluated_on = f"{len(pooled.split):,} images, each by the model of the fold that held it out"
    summary = run_summary(first.checkpoint, first.run, models[0], [], evaluated_on)
    return render_evaluation(
        pooled,
        validation.calibrated,
        config,
        title=title,
        subtitle=f"{first.checkpoint.model.name} on {len(first.checkpoint.classes)} classes, {len(folds)} folds: "
        f"accuracy {mean:.1%}, standard deviation {deviation:.1%}",
        examples=select_examples(ExampleImages(pooled, validation.calibrated, heatmaps), maybe[0][1]),
        summary=[row for row in summary if row[0] != "splits"],  # those of one fold
        training=[],
        calibration="each fold's probabilities are calibrated by the mean temperature of the other folds' models (1 where "
        "scaling does not help)",
        findings=None,
        folds=[{"number": fold.number, "n": fold.n} | fold.metrics for fold in folds],
    )


def _joined_heatmaps(folds: Sequence[Heatmaps], ends: NDArray[np.int64], side: int) -> Heatmaps:
    """The folds' heat maps over the concatenated images; `ends` (K,) holds each fold's end index.

    Maps are resized to `side` pixels: those of a fold that ended at a smaller image size are smaller.
    """

    def heatmaps(indices: NDArray[np.int64]) -> NDArray[np.float32]:
        owner = np.searchsorted(ends, indices, side="right")
        starts = np.concatenate([[0], ends[:-1]])
        each = [folds[fold](indices[n : n + 1] - starts[fold]) for n, fold in enumerate(owner)]
        return np.concatenate([resized(one, side) for one in each])

    return heatmaps
