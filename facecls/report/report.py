"""The HTML page of a run: its settings, metrics, charts and misclassified images."""

import csv
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from facecls import __version__
from facecls.checkpoint import Checkpoint
from facecls.config.schema import Config
from facecls.device import Device
from facecls.errors import ModelError
from facecls.evaluation.cross_validation import METRICS
from facecls.evaluation.evaluate import Evaluation
from facecls.evaluation.gradcam import GradCam
from facecls.evaluation.metrics import Metrics
from facecls.models.classifier import FaceClassifier, count_parameters
from facecls.open_set.calibration import describe, explain_threshold
from facecls.open_set.temperature import probabilities, reliability
from facecls.report import curves, matrix
from facecls.report.examples import ExampleImages, Heatmaps, select_examples
from facecls.report.page import percent, percent_range, render
from facecls.run import EpochMetrics, Run
from facecls.text import duration, plural


@dataclass(frozen=True)
class FindingSummary:
    """A finding of `facecls check`, as the page lists it."""

    kind: str
    severity: str  # error, warning or info
    message: str
    fix: str
    examples: tuple[str, ...]  # image paths relative to the data root, or class names
    more: int  # items that `examples` leaves out
    thumbnails: tuple[tuple[str, str], ...] = ()  # `data:` URL and image path of some of the images concerned


def render_report(
    checkpoint: Checkpoint,
    run: Run,
    evaluation: Evaluation,
    device: Device,
    title: str,
    evaluated_on: str,
    findings: Sequence[FindingSummary] | None,
) -> str:
    """The page of one run as HTML; files that `run` lacks are left out.

    `evaluated_on` describes the images of the evaluation; `findings` is None if the training data was not audited.
    """
    model = checkpoint.build(device)
    heatmaps, no_heatmaps = heatmaps_of(model, checkpoint, evaluation, device)
    calibrated = checkpoint.calibration_for().probabilities(evaluation.outputs.logits)
    rows = run.rows()
    return render_evaluation(
        evaluation,
        calibrated,
        checkpoint.config,
        title=title,
        subtitle=f"{checkpoint.model.name} on {len(checkpoint.classes)} classes, evaluated on {evaluated_on}",
        examples=select_examples(ExampleImages(evaluation, calibrated, heatmaps), no_heatmaps),
        summary=run_summary(checkpoint, run, model, rows, evaluated_on),
        training=curves.training_curves(rows, checkpoint.metrics.get("epoch")),
        calibration="not calibrated: the training has not ended"
        if checkpoint.calibration is None
        else describe(checkpoint.calibration)[0],
        findings=findings,
        folds=(),
    )


def render_evaluation(evaluation: Evaluation, calibrated: NDArray[np.float64], config: Config, **values: Any) -> str:
    """An evaluation with its calibrated probabilities (N, C) as HTML.

    `values` are the variables of the template that do not follow from the evaluation: `title`, `subtitle`, `summary`,
    `training` (charts), `calibration` (text), `examples`, `findings` and `folds`.
    """
    closed_set, labels = evaluation.closed_set, evaluation.split.image_list.labels
    metrics = closed_set.metrics
    uncalibrated = probabilities(evaluation.outputs.logits)
    return render(
        "report.html.j2",
        tiles=_tiles(evaluation),
        time=time.strftime("%Y-%m-%d %H:%M"),
        config=yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        reliability=curves.reliability_diagram(reliability(uncalibrated, labels), reliability(calibrated, labels)),
        confidence=curves.confidence_histogram(calibrated, labels),
        ece=closed_set.ece,
        brier=closed_set.brier,
        open_set=_open_set(evaluation),
        warnings=evaluation.warnings,
        mark="*" if evaluation.fitted else "",
        footnotes=[
            *([f"optimistic: {evaluation.fitted}"] if evaluation.fitted else []),
            *(
                ["FAR is at its target by construction: the threshold was set on these impostors"]
                * evaluation.impostors_set_threshold
            ),
        ],
        matrix=matrix.confusion_matrix(metrics.confusion, metrics.classes),
        most_confused=matrix.most_confused(metrics.confusion, metrics.classes),
        per_class=[(each, _confused_with(metrics, number)) for number, each in enumerate(metrics.per_class)],
        subgroups=evaluation.subgroups,
        skipped=evaluation.skipped,
        footer=f"facecls {__version__}",
        **values,
    )


def heatmaps_of(
    model: FaceClassifier, checkpoint: Checkpoint, evaluation: Evaluation, device: Device
) -> tuple[Heatmaps | None, str]:
    """A function that computes the heat maps of an evaluation's images, or None and the reason."""
    try:
        cam = GradCam(model, device, checkpoint.geometry.image_size, checkpoint.model.name)
    except ModelError as error:
        return None, f"There are no Grad-CAM heat maps: {error}."
    predicted = evaluation.outputs.logits.argmax(axis=1)
    return (lambda indices: cam(evaluation.split.faces[indices], predicted[indices])), ""


def run_summary(
    checkpoint: Checkpoint, run: Run, model: FaceClassifier, rows: Sequence[EpochMetrics], evaluated_on: str
) -> list[tuple[str, str]]:
    """Data, model, training and environment of a run, as far as its files exist: (name, text)."""
    summary = [("data", str(checkpoint.config.data.root)), ("evaluated on", evaluated_on)]
    if run.split.exists():
        with run.split.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            counts = Counter(row["split"] for row in csv.DictReader(file))
        summary.append(("splits", ", ".join(f"{count:,} {split}" for split, count in counts.items())))
    head = checkpoint.head.name + (f", margin {checkpoint.head.margin:g}" if checkpoint.head.name != "linear" else "")
    geometry = checkpoint.geometry
    crop = "the whole image" if geometry.crop == 1 else f"the central {geometry.crop:.0%} of an image"
    side = f"{geometry.image_size} x {geometry.image_size} pixels"
    detection = geometry.detection
    taken = (
        f"{crop} at {side}, taken for one face: none is detected"
        if detection is None
        else f"the main face of an image, found by {detection.detector} and aligned, at {side}, margin {detection.margin:g}"
    )
    summary += [
        ("model", f"{checkpoint.model.name}, {count_parameters(model):,} parameters, head {head}"),
        ("input", taken),
    ]
    if rows:
        best = f", best epoch {checkpoint.metrics['epoch'] + 1}" if "epoch" in checkpoint.metrics else ""
        summary.append(("training", f"{plural(len(rows), 'epoch')} in {duration(rows[-1].seconds)}{best}"))
    if run.environment.exists():
        environment = json.loads(run.environment.read_text(encoding="utf-8"))
        versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
        summary += [
            ("device", f"{environment['device']}, threads: {environment['threads']}, {environment['processor']}"),
            ("versions", f"Python {environment['python']}, {versions}"),
        ]
    return summary


def _tiles(evaluation: Evaluation) -> list[tuple[str, str, str]]:
    """The headline figures: (name, value, detail)."""
    closed_set, open_set = evaluation.closed_set, evaluation.open_set
    metrics, mark = closed_set.metrics, "*" if evaluation.fitted else ""
    tiles = [
        (label, percent(getattr(metrics, name)) + mark, percent_range(closed_set.intervals[name]))
        for name, label in METRICS.items()
    ]
    if closed_set.roc_auc is not None:
        tiles.append(("ROC AUC", f"{closed_set.roc_auc:.3f}{mark}", "one-vs-rest"))
    tiles += [
        ("calibration error (ECE)", f"{closed_set.ece[1]:.3f}{mark}", f"{closed_set.ece[0]:.3f} before calibration"),
        ("images", f"{metrics.n:,}", f"of {len(metrics.classes)} classes"),
    ]
    if open_set.false_accept_interval is not None:
        impostors = f"{percent_range(open_set.false_accept_interval)}, {plural(open_set.impostors, 'impostor')}"
        tiles.append(
            (
                "false accept rate (FAR)",
                percent(open_set.false_accept_rate) + "*" * evaluation.impostors_set_threshold,
                impostors,
            )
        )
    if open_set.true_accept_rate is not None:
        identified = f"{percent(open_set.identification_rate)} accepted and correct (DIR)"
        tiles.append(("true accept rate (TAR)", percent(open_set.true_accept_rate) + mark, identified))
    return tiles


def _open_set(evaluation: Evaluation) -> dict[str, Any] | None:
    """Text, table and charts of open-set recognition; None without a threshold and impostors."""
    open_set = evaluation.open_set
    if open_set.threshold is None and open_set.rates is None:
        return None
    text = [] if open_set.threshold is None else [explain_threshold(open_set.threshold)]
    if open_set.false_accept_interval is not None:
        which = ""
        if open_set.threshold is not None and open_set.threshold.source == "impostors":
            which = (
                " that set the threshold" if evaluation.impostors_set_threshold else " other than those that set the threshold"
            )
        text.append(
            f"{percent(open_set.false_accept_rate)} of {plural(open_set.impostors, 'impostor')}{which} were accepted "
            f"(false accept rate, FAR; 95 % interval {percent_range(open_set.false_accept_interval)}). "
            f"{percent(open_set.true_accept_rate)} of the images of known classes were accepted (true accept rate, TAR), "
            f"{percent(open_set.identification_rate)} were accepted and classified correctly (detection and identification "
            "rate, DIR)"
        )
        if (expected := open_set.false_accept_prediction_interval) is not None:
            text.append(f"given how the threshold was set, a FAR of {percent_range(expected)} is expected")
    return {
        "text": text,
        "points": open_set.rates.points if open_set.rates else (),
        "curve": curves.identification_curve(open_set),
        "histogram": curves.score_histogram(open_set),
    }


def _confused_with(metrics: Metrics, number: int) -> str:
    """The two classes that a class is most often predicted as instead, with their counts."""
    mistakes = metrics.confusion[number].copy()
    mistakes[number] = 0
    most = np.argsort(-mistakes, kind="stable")[:2]
    return ", ".join(f"{metrics.classes[other]} ({mistakes[other]})" for other in most if mistakes[other])


def title_of(path: Path) -> str:
    """The title of a checkpoint's page: the name of its run directory."""
    return (path.parent if path.suffix == ".pt" else path).resolve().name or "facecls"
