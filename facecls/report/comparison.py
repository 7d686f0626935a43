"""The HTML page that compares several runs."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from facecls import __version__
from facecls.checkpoint import Checkpoint
from facecls.evaluation.comparison import Comparison, PairedTest
from facecls.evaluation.run_table import RunSummary, differing_keys
from facecls.report.charts import Axis, Chart, fit_axis
from facecls.report.examples import Example, ExampleImages
from facecls.report.page import percent, render
from facecls.run import EpochMetrics
from facecls.text import duration

MOST_RUNS = 8  # colours of the charts
_EXAMPLES = 8  # images that only one run classifies correctly, of each pair and run


@dataclass(frozen=True)
class ComparedRun:
    """A run of the page."""

    summary: RunSummary
    checkpoint: Checkpoint
    rows: Sequence[EpochMetrics]


def render_comparison(comparison: Comparison, runs: Sequence[ComparedRun]) -> str:
    """The page as HTML; `runs` are those of the comparison, in its order, at most MOST_RUNS."""
    assert len(runs) <= MOST_RUNS
    images = [
        ExampleImages(each, run.checkpoint.calibration_for().probabilities(each.outputs.logits), None)
        for each, run in zip(comparison.evaluations, runs, strict=True)
    ]
    keys = differing_keys([run.summary for run in runs])
    styles = [f"run-{number}" for number in range(1, len(runs) + 1)]
    return render(
        "comparison.html.j2",
        time=time.strftime("%Y-%m-%d %H:%M"),
        names=comparison.names,
        styles=styles,
        figures=[_figures(comparison, number, run) for number, run in enumerate(runs)],
        fitted=sorted({each.fitted for each in comparison.evaluations if each.fitted}),
        warnings=[
            (name, text) for name, each in zip(comparison.names, comparison.evaluations, strict=True) for text in each.warnings
        ],
        curves=_curves(comparison.names, styles, runs),
        config=[(key, [str(run.summary.config.get(key, "-")) for run in runs]) for key in keys],
        tests=[_test(comparison, test) for test in comparison.tests],
        adjusted=len(comparison.tests) > 1,
        examples=[group for test in comparison.tests for group in _examples(comparison, test, images)],
        footer=f"facecls {__version__}",
    )


def _figures(comparison: Comparison, number: int, run: ComparedRun) -> dict[str, Any]:
    evaluation, environment = comparison.evaluations[number], run.summary.environment
    closed_set, open_set = evaluation.closed_set, evaluation.open_set
    return {
        "name": comparison.names[number],
        "n": closed_set.metrics.n,
        "split": evaluation.split.name,
        "mark": "*" if evaluation.fitted else "",
        "accuracy": closed_set.metrics.accuracy,
        "interval": closed_set.intervals["accuracy"],
        "macro_f1": closed_set.metrics.macro_f1,
        "ece": closed_set.ece[1],
        "dir": open_set.identification_rate,
        "far": open_set.false_accept_rate,
        "epochs": run.summary.epochs_text,
        "time": "-" if run.summary.seconds is None else duration(run.summary.seconds),
        "device": environment.get("device", "-"),
        "commit": (environment.get("git_commit") or "-")[:9],
    }


def _test(comparison: Comparison, test: PairedTest) -> dict[str, Any]:
    return {
        "first": comparison.names[test.first],
        "second": comparison.names[test.second],
        "n": test.n,
        "only_first": len(test.only_first),
        "only_second": len(test.only_second),
        "difference": None if test.difference is None else _signed(test.difference),
        "interval": None if test.difference_interval is None else " to ".join(map(_signed, test.difference_interval)),
        "p": _p_text(test.p_value),
        "p_adjusted": _p_text(test.p_adjusted),
    }


def _signed(share: float) -> str:
    return ("+" if share > 0 else "") + percent(share)


def _p_text(p_value: float) -> str:
    return "below 0.0001" if p_value < 1e-4 else f"{p_value:.4f}"


@dataclass(frozen=True)
class _OnlyRight:
    """Images that one run classifies correctly and another does not, the most confident mistakes first."""

    right: str
    wrong: str
    shown: Sequence[tuple[Example, Example]]  # with the prediction of either run
    count: int


def _examples(comparison: Comparison, test: PairedTest, images: Sequence[ExampleImages]) -> list[_OnlyRight]:
    groups = []
    for right, wrong, indices in ((test.first, test.second, test.only_first), (test.second, test.first, test.only_second)):
        number_of = {path: number for number, path in enumerate(images[wrong].evaluation.split.image_list.paths)}
        paths = images[right].evaluation.split.image_list.paths
        pairs = [(index, number_of[paths[index]]) for index in indices.tolist() if paths[index] in number_of]
        pairs.sort(key=lambda pair: -images[wrong].confidence[pair[1]])
        if chosen := pairs[:_EXAMPLES]:
            ones, others = zip(*chosen, strict=True)
            shown = list(zip(images[right].examples(ones), images[wrong].examples(others), strict=True))
            groups.append(_OnlyRight(comparison.names[right], comparison.names[wrong], shown, len(indices)))
    return groups


def _curves(names: Sequence[str], styles: Sequence[str], runs: Sequence[ComparedRun]) -> list[Chart]:
    """Metrics by epoch, a line per run."""
    series: list[tuple[str, Callable[[EpochMetrics], float], bool]] = [
        ("Accuracy on val", lambda row: row.val_accuracy, True),
        ("Loss on val", lambda row: row.val_loss, False),
        ("Training loss, augmented", lambda row: row.train_loss, False),
    ]
    rows = [row for run in runs for row in run.rows]
    if not rows:
        return []
    last = max(row.epoch for row in rows) + 1.0
    x = Axis("epoch", 1.0 if last > 1 else 0.0, last if last > 1 else 2.0, integer=True)
    charts = []
    for title, value, is_share in series:
        values = [value(row) for row in rows if math.isfinite(value(row))]
        y = fit_axis(values, "", zero=True)
        chart = Chart(title, x, Axis("", y.low, 1.0, percent=True) if is_share else y)
        for name, style, run in zip(names, styles, runs, strict=True):
            chart.line(name, [row.epoch + 1.0 for row in run.rows], [value(row) for row in run.rows], style)
            if len(run.rows) == 1:
                chart.point(run.rows[0].epoch + 1.0, value(run.rows[0]), style, name)
        charts.append(chart)
    return charts
