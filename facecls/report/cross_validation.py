"""The HTML page of a cross-validation."""

from collections.abc import Sequence

import numpy as np
import yaml
from numpy.typing import NDArray

from facecls.config.schema import Config
from facecls.device import Device
from facecls.evaluation.cross_validation import CrossValidation
from facecls.evaluation.gradcam import resized
from facecls.report.examples import ExampleImages, Heat, gallery
from facecls.report.report import facts, heat_of, page


def folds_page(validation: CrossValidation, config: Config, device: Device, title: str) -> str:
    """The page of a cross-validation as HTML."""
    pooled, first = validation.pooled, validation.folds[0]
    models = [fold.checkpoint.build(device) for fold in validation.folds]
    heats = [
        heat_of(model, fold.checkpoint, fold.evaluation, device) for model, fold in zip(models, validation.folds, strict=True)
    ]
    ends = np.cumsum([fold.n for fold in validation.folds])
    there = [each for each, _ in heats if each is not None]
    heat = _joined_heat(there, ends, first.checkpoint.config.data.image_size) if there else None
    mean, deviation = validation.spread("accuracy")
    count = len(validation.folds)
    scored_on = f"{len(pooled.split):,} images, each by the fold that was not trained on it"
    return page(
        title=title,
        subtitle=f"{first.checkpoint.model.name} on {len(first.checkpoint.classes)} classes, {count} folds: "
        f"accuracy {mean:.1%}, deviation {deviation:.1%}",
        evaluation=pooled,
        logits=pooled.outputs.logits,
        calibrated=validation.calibrated,
        shown=gallery(ExampleImages(pooled, validation.calibrated, heat), heats[0][1]),
        facts=[fact for fact in facts(first.checkpoint, first.run, models[0], [], scored_on) if fact[0] != "counts"],
        config=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        training=[],
        calibration="Each fold's probabilities are calibrated by the temperature of its own network, fitted to these images.",
        findings=None,
        folds=[{"number": fold.number, "n": fold.n} | fold.metrics for fold in validation.folds],
    )


def _joined_heat(heats: Sequence[Heat], ends: NDArray[np.int64], side: int) -> Heat:
    """The folds' maps as one; a fold that ended while its images were growing has smaller ones than `side` pixels."""

    def heat(numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        owner = np.searchsorted(ends, numbers, side="right")
        begins = np.concatenate([[0], ends[:-1]])
        each = [heats[fold](numbers[n : n + 1] - begins[fold]) for n, fold in enumerate(owner)]
        return np.concatenate([resized(one, side) for one in each])

    return heat
