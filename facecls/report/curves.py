"""The charts of a report: training curves, calibration, and open-set recognition."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from facecls.evaluation.intervals import wilson_interval
from facecls.evaluation.result import OpenSetResult
from facecls.open_set.scores import SCORES
from facecls.open_set.temperature import Ints, ReliabilityBin
from facecls.report.charts import Axis, Chart, fit_axis
from facecls.run import EpochMetrics
from facecls.text import plural

_LOWEST_FAR = 1e-3  # where the logarithmic axis starts
_OUTLIER = 20.0  # times the median: from such a value on losses are drawn on a logarithmic axis


def training_curves(rows: Sequence[EpochMetrics], best: int | None) -> list[Chart]:
    """Loss, accuracy and learning rate by epoch, from the rows of metrics.jsonl; `best` is the selected epoch, from 0."""
    if not rows:
        return []
    epochs = [row.epoch + 1.0 for row in rows]
    around = 1 if len(epochs) == 1 else 0
    x = Axis("epoch", min(epochs) - around, max(epochs) + around, integer=True)

    def chart(title: str, series: Mapping[str, str], *, percent: bool = False) -> Chart:
        values = {key: [float(getattr(row, key)) for row in rows] for key in series}
        y = fit_axis([value for each in values.values() for value in each], "", zero=True)
        positive = [value for each in values.values() for value in each if 0 < value < np.inf]
        if percent:
            y = Axis("", y.low, 1.0, percent=True)
        elif title == "Loss" and positive and max(positive) > _OUTLIER * np.median(positive):
            title, y = "Loss (logarithmic)", Axis("", min(positive) / 1.1, max(positive) * 1.1, log=True)
        chart = Chart(title, x, y)
        for style, (key, name) in zip(("one", "two"), series.items(), strict=False):
            chart.line(name if len(series) > 1 else "", epochs, values[key], style)
            if len(rows) == 1:
                chart.point(epochs[0], values[key][0], style, name)
        if best is not None:
            chart.vline(best + 1.0, "best")
        return chart

    return [
        chart("Loss", {"train_loss": "train, augmented", "val_loss": "val"}),
        chart("Accuracy", {"train_accuracy": "train, augmented", "val_accuracy": "val"}, percent=True),
        chart("Learning rate", {"lr": "learning rate"}),
    ]


def reliability_diagram(before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin]) -> Chart:
    """Accuracy by confidence, before and after calibration; error bars are 95 % intervals (Wilson)."""
    chart = Chart("Reliability diagram", Axis("confidence", 0, 1, percent=True), Axis("accuracy", 0, 1, percent=True))
    chart.legend.append(("one", "calibrated"))
    for each in after:
        if each.accuracy is not None and each.confidence is not None:
            low, high = wilson_interval(round(each.accuracy * each.count), each.count)
            tooltip = (
                f"{plural(each.count, 'image')} with a mean confidence of {each.confidence:.1%}: accuracy {each.accuracy:.1%}, "
                f"95 % interval {low:.1%} to {high:.1%}"
            )
            chart.bar(each.low, each.high, each.accuracy, "one", tooltip)
            middle = (each.low + each.high) / 2
            chart.line("", [middle, middle], [low, high], "error-bar")
    chart.line("perfect calibration", [0, 1], [0, 1], "reference")
    filled = [(each.confidence, each.accuracy) for each in before if each.accuracy is not None and each.confidence is not None]
    chart.line("before calibration", [x for x, _ in filled], [y for _, y in filled], "two")
    return chart


def confidence_histogram(calibrated: NDArray[np.float64], labels: Ints) -> Chart:
    """Confidence of (N, C) probabilities: correct predictions upwards, incorrect ones downwards, as shares of all N."""
    confidence, correct = calibrated.max(axis=1), calibrated.argmax(axis=1) == labels
    groups = {"correct": confidence[correct], "incorrect": confidence[~correct]}
    return _histogram("Confidence distribution", Axis("confidence", 0, 1, percent=True), groups, len(labels), 20)


def score_histogram(open_set: OpenSetResult) -> Chart:
    """Open-set scores with the threshold: known classes upwards, impostors downwards, each as shares of their group."""
    scores = np.concatenate([open_set.known_scores, open_set.impostor_scores]).tolist()
    x = fit_axis([*scores, *([open_set.threshold.value] if open_set.threshold else [])], SCORES[open_set.score])
    groups = {"known classes": open_set.known_scores, "unknown people (impostors)": open_set.impostor_scores}
    chart = _histogram("Score distribution", x, groups, None, 30)
    if open_set.threshold:
        chart.vline(open_set.threshold.value, "threshold")
    return chart


def _histogram(title: str, x: Axis, groups: Mapping[str, NDArray[np.float64]], total: int | None, bins: int) -> Chart:
    """The first group's bars upwards and the second's downwards; shares of `total`, or of each group's own size."""
    edges = np.linspace(x.low, x.high, bins + 1).tolist()
    series = [
        (name, style, sign * np.histogram(values, edges)[0] / (total or len(values)))
        for (name, values), style, sign in zip(groups.items(), ("one", "two"), (1, -1), strict=True)
        if len(values)
    ]
    ends = [0.0, *(float(end) for _, _, shares in series for end in (shares.min(), shares.max()))]
    chart = Chart(title, x, Axis("share of images", 1.05 * min(ends), 1.05 * max(ends), percent=True))
    for name, style, shares in series:
        chart.legend.append((style, name))
        for low, high, share in zip(edges, edges[1:], shares.tolist(), strict=False):
            if share:
                chart.bar(low, high, share, style, f"{abs(share):.1%}: {name}, {x.format(low)} to {x.format(high)}")
    return chart


def identification_curve(open_set: OpenSetResult) -> Chart | None:
    """The detection and identification rate against the false accept rate at every threshold; None without impostors."""
    if open_set.rates is None:
        return None
    chart = Chart(
        "Open-set ROC curve",
        Axis("false accept rate (FAR)", _LOWEST_FAR, 1, log=True, percent=True),
        Axis("identification rate (DIR)", 0, 1, percent=True),
    )
    fars, identified = open_set.rates.false_accept_rates, open_set.rates.identification_rates
    # A step curve: between two impostors' scores the FAR is constant.
    chart.line("all thresholds", np.repeat(fars, 2)[1:].tolist(), np.repeat(identified, 2)[:-1].tolist(), "one")
    far, dir_ = open_set.false_accept_rate, open_set.identification_rate
    if far is not None and dir_ is not None:
        chart.point(far, dir_, "two", f"stored threshold: FAR {far:.1%}, DIR {dir_:.1%}")
        chart.legend.append(("two", "stored threshold"))
    return chart
