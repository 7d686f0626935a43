"""A trained classifier to a page: what it was trained on, how good it is, where it errs and why."""

import csv
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from facecls import __version__
from facecls.checkpoint import Checkpoint
from facecls.device import Device
from facecls.errors import ModelError
from facecls.evaluation.evaluate import Evaluation
from facecls.evaluation.gradcam import GradCam
from facecls.evaluation.result import ClosedSetResult
from facecls.models.classifier import FaceClassifier, count_parameters
from facecls.open_set.calibration import describe, explain_threshold
from facecls.open_set.temperature import probabilities, reliability
from facecls.report import curves, matrix
from facecls.report.charts import Chart
from facecls.report.examples import ExampleImages, Gallery, Heat, gallery
from facecls.report.page import percent, render
from facecls.run import Run

Fact = tuple[str, str]


@dataclass(frozen=True)
class FindingSummary:
    """A finding as the page tells it."""

    kind: str
    grave: bool
    message: str
    fix: str
    examples: tuple[str, ...]  # images below the data's root, or names of classes
    more: int


def report(
    checkpoint: Checkpoint,
    run: Run,
    evaluation: Evaluation,
    device: Device,
    title: str,
    scored_on: str,
    told: Sequence[FindingSummary] | None,
) -> str:
    """The page of one training as HTML; `run` is the folder of its checkpoint, of which what is there is shown.

    `scored_on` says in words which images were scored, `told` what is odd about the data, if that is known.
    """
    calibration = checkpoint.calibration_for()
    model = checkpoint.build(device)
    heat, without_heat = heat_of(model, checkpoint, evaluation, device)
    calibrated = calibration.probabilities(evaluation.outputs.logits)
    rows = [row.to_plain() for row in run.rows()]
    best = checkpoint.metrics.get("epoch")
    words = [] if checkpoint.calibration is None else describe(checkpoint.calibration)
    return page(
        title=title,
        subtitle=f"{checkpoint.model.name} on {len(checkpoint.classes)} classes, scored on {scored_on}",
        evaluation=evaluation,
        logits=evaluation.outputs.logits,
        calibrated=calibrated,
        shown=gallery(ExampleImages(evaluation, calibrated, heat), without_heat),
        facts=facts(checkpoint, run, model, rows, scored_on),
        config=yaml.safe_dump(checkpoint.config.model_dump(mode="json"), sort_keys=False, allow_unicode=True),
        training=curves.training_curves(rows, best),
        calibration=words[0] if words else "The training has not ended, so nothing is calibrated yet.",
        findings=told,
    )


def page(
    *,
    title: str,
    subtitle: str,
    evaluation: Evaluation,
    logits: NDArray[np.float32],
    calibrated: NDArray[np.float64],
    shown: Gallery,
    facts: Sequence[Fact],
    config: str,
    training: Sequence[Chart],
    calibration: str,
    findings: Sequence[FindingSummary] | None,
    folds: Sequence[Mapping[str, Any]] = (),
) -> str:
    """An evaluation as HTML, with what the caller knows of its training."""
    closed_set, labels = evaluation.closed_set, evaluation.split.image_list.labels
    scores = closed_set.scores
    return render(
        "report.html.j2",
        title=title,
        subtitle=subtitle,
        tiles=_tiles(evaluation),
        facts=facts,
        config=config,
        folds=folds,
        curves=training,
        calibration=calibration,
        reliability=curves.reliability_diagram(reliability(probabilities(logits), labels), reliability(calibrated, labels)),
        confidence=curves.confidence_histogram(calibrated, labels),
        ece=closed_set.ece,
        brier=closed_set.brier,
        unknown=_unknown(evaluation),
        matrix=matrix.whole(scores.confusion, scores.classes),
        worst=matrix.worst(scores.confusion, scores.classes),
        rows=_class_rows(closed_set),
        groups=evaluation.groups,
        gallery=shown,
        findings=findings,
        skipped=evaluation.skipped,
        footer=f"facecls {__version__}, {time.strftime('%Y-%m-%d %H:%M')}",
    )


def heat_of(model: FaceClassifier, checkpoint: Checkpoint, evaluation: Evaluation, device: Device) -> tuple[Heat | None, str]:
    """What makes the heat maps of an evaluation's images, or None and why there are none."""
    try:
        cam = GradCam(model, device, checkpoint.geometry.image_size, checkpoint.model.name)
    except ModelError as error:
        return None, f"Where the network looked cannot be shown: {error}."
    named = evaluation.outputs.logits.argmax(axis=1)
    return (lambda numbers: cam(evaluation.split.faces[numbers], named[numbers])), ""


def facts(
    checkpoint: Checkpoint, run: Run, model: FaceClassifier, rows: Sequence[Mapping[str, Any]], scored_on: str
) -> list[Fact]:
    """What was trained on what, as far as the checkpoint and its folder tell."""
    config = checkpoint.config
    environment = json.loads(run.environment.read_text(encoding="utf-8")) if run.environment.exists() else {}
    known: list[Fact] = [("images", str(config.data.root)), ("scored on", scored_on)]
    if run.split.exists():
        with run.split.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
            counts = Counter(row["split"] for row in csv.DictReader(file))
        known.append(("counts", ", ".join(f"{count:,} {split}" for split, count in counts.items())))
    head = checkpoint.head.name + (f", margin {checkpoint.head.margin:g}" if checkpoint.head.name != "linear" else "")
    geometry = checkpoint.geometry
    split = "the whole image" if geometry.crop == 1 else f"the central {geometry.crop:.0%} of an image"
    known += [
        ("network", f"{checkpoint.model.name}, {count_parameters(model):,} parameters, head {head}"),
        ("it sees", f"{split} at {geometry.image_size} x {geometry.image_size} pixels"),
    ]
    if rows:
        minutes = rows[-1]["seconds"] / 60
        kept = f", the one of epoch {checkpoint.metrics['epoch'] + 1} kept" if "epoch" in checkpoint.metrics else ""
        known.append(("training", f"{len(rows)} epochs in {minutes:.1f} minutes{kept}"))
    if environment:
        versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
        known += [
            ("computed on", f"{environment['device']}, threads: {environment['threads']}, {environment['processor']}"),
            ("versions", f"Python {environment['python']}, {versions}"),
        ]
    return known


def _tiles(evaluation: Evaluation) -> list[dict[str, str]]:
    closed_set, open_set = evaluation.closed_set, evaluation.open_set
    scores = closed_set.scores

    def tile(name: str, value: str, words: str) -> dict[str, str]:
        return {"name": name, "value": value, "words": words}

    def between(name: str) -> str:
        low, high = closed_set.intervals[name]
        return f"{percent(low)} to {percent(high)}"

    tiles = [
        tile("accuracy", percent(scores.accuracy), between("accuracy")),
        tile("balanced accuracy", percent(scores.balanced_accuracy), between("balanced_accuracy")),
        tile("macro F1", percent(scores.macro_f1), between("macro_f1")),
        tile("calibration error", f"{closed_set.ece[1]:.3f}", f"{closed_set.ece[0]:.3f} before calibration"),
        tile("images scored", f"{scores.n:,}", f"{len(scores.classes)} classes"),
    ]
    if closed_set.roc_auc is not None:
        tiles.insert(3, tile("ROC-AUC", f"{closed_set.roc_auc:.3f}", "one against the rest"))
    if open_set.false_accept is not None:
        share, low, high = open_set.false_accept
        tiles.append(tile("strangers named", percent(share), f"{percent(low)} to {percent(high)}, of {open_set.impostors:,}"))
    if open_set.accepted is not None:
        tiles.append(tile("known kept", percent(open_set.accepted), f"{percent(open_set.identified)} kept and right"))
    return tiles


def _unknown(evaluation: Evaluation) -> dict[str, Any] | None:
    open_set = evaluation.open_set
    if open_set.threshold is None and open_set.rates is None:
        return None
    words = [] if open_set.threshold is None else [explain_threshold(open_set.threshold)]
    if open_set.false_accept is not None:
        share, low, high = open_set.false_accept
        whose = "strangers"
        if open_set.threshold is not None and open_set.threshold.source == "strangers":
            whose = "strangers that set it" if evaluation.impostors_set_threshold else "other strangers"
        words.append(
            f"Of {open_set.impostors:,} {whose}, {percent(share)} were given a name "
            f"(95 % interval {percent(low)} to {percent(high)}); of the known, {percent(open_set.accepted)} were kept, "
            f"and {percent(open_set.identified)} kept and named right."
        )
        if open_set.expected is not None:
            low, high = open_set.expected
            words.append(f"By how the threshold was set, {percent(low)} to {percent(high)} of them were to be expected.")
    return {
        "words": words,
        "points": open_set.rates.points if open_set.rates else (),
        "curve": curves.identification_curve(open_set),
        "histogram": curves.score_histogram(open_set),
    }


def _class_rows(closed_set: ClosedSetResult) -> list[dict[str, Any]]:
    scores = closed_set.scores
    rows = []
    for number, each in enumerate(scores.per_class):
        mistakes = scores.confusion[number].copy()
        mistakes[number] = 0
        others = np.argsort(-mistakes, kind="stable")[:2]
        confused = ", ".join(f"{scores.classes[other]} ({mistakes[other]})" for other in others if mistakes[other])
        rows.append(
            {
                "name": each.name,
                "recall": each.recall,
                "precision": each.precision,
                "f1": each.f1,
                "support": each.support,
                "confused": confused,
            }
        )
    return rows


def title_of(path: Path) -> str:
    """What a page is called: the run folder's name, or that of the file."""
    return (path.parent if path.suffix == ".pt" else path).resolve().name or "facecls"
