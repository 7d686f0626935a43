"""The charts of a report: how training went, whether probabilities mean what they say, how strangers are told apart."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.evaluation.intervals import wilson_interval
from facecls.evaluation.result import OpenSetResult
from facecls.open_set.scores import SCORES
from facecls.open_set.temperature import Ints, ReliabilityBin
from facecls.report.charts import Axis, Chart, span

_BINS = 30
_LEAST_RATE = 1e-3


def training_curves(rows: Sequence[Mapping[str, Any]], best: int | None) -> list[Chart]:
    """Loss, accuracy and learning rate over the epochs; `best` is the number of the epoch that was kept."""
    if not rows:
        return []
    epochs = [row["epoch"] + 1.0 for row in rows]
    across = Axis("epoch", min(epochs), max(epochs)) if len(epochs) > 1 else Axis("epoch", epochs[0] - 1, epochs[0] + 1)

    def chart(title: str, lines: Mapping[str, str], *, percent: bool = False, zero: bool = False) -> Chart:
        values = {key: [float(row[key]) for row in rows] for key in lines}
        up = span([value for each in values.values() for value in each], "", percent=percent, zero=zero)
        drawn = Chart(title, across, Axis("", up.low, 1.0, percent=True) if percent else up)
        for style, (key, name) in zip(("one", "two"), lines.items(), strict=False):
            drawn.line(name if len(lines) > 1 else "", epochs, values[key], style)
            if len(rows) == 1:
                drawn.dot(epochs[0], values[key][0], style, name)
        if best is not None:
            drawn.rule(best + 1.0, "kept")
        return drawn

    return [
        chart("Loss", {"train_loss": "train, augmented", "val_loss": "val"}, zero=True),
        chart(
            "Accuracy",
            {"train_accuracy": "train, augmented", "val_accuracy": "val"},
            percent=True,
            zero=True,
        ),
        chart("Learning rate", {"lr": "learning rate"}, zero=True),
    ]


def reliability_diagram(before: Sequence[ReliabilityBin], after: Sequence[ReliabilityBin]) -> Chart:
    """How often images are named right, by how sure the model is; whiskers are 95 % intervals (Wilson)."""
    chart = Chart(
        "How often is it right when it is so sure?",
        Axis("how sure it is", 0, 1, percent=True),
        Axis("named right", 0, 1, percent=True),
    )
    for each in after:
        if each.accuracy is not None and each.confidence is not None:
            low, high = wilson_interval(round(each.accuracy * each.count), each.count)
            words = f"{each.count} images at {each.confidence:.1%} on average: {each.accuracy:.1%} right"
            chart.bar(each.low, each.high, each.accuracy, "one", f"{words}, 95 % interval {low:.1%} to {high:.1%}")
            middle = (each.low + each.high) / 2
            chart.line("", [middle, middle], [low, high], "whisker")
    chart.line("perfect", [0, 1], [0, 1], "quiet")
    filled = [(each.confidence, each.accuracy) for each in before if each.accuracy is not None and each.confidence is not None]
    chart.line("before calibration", [x for x, _ in filled], [y for _, y in filled], "two")
    chart.legend.insert(0, ("one", "calibrated"))
    return chart


def confidence_histogram(calibrated: NDArray[np.float64], labels: Ints) -> Chart:
    """How sure the model is of (N, C) probabilities: of what it names right upwards, of its mistakes downwards."""
    sure, right = calibrated.max(axis=1), calibrated.argmax(axis=1) == labels
    groups = {"named right": sure[right], "mistakes": sure[~right]}
    return _histogram("How sure is it?", Axis("how sure it is", 0, 1, percent=True), groups, len(labels), 20)


def score_histogram(open_set: OpenSetResult) -> Chart:
    """The scores of the known and, downwards, of strangers, with the threshold between them."""
    everyone = np.concatenate([open_set.known_scores, open_set.impostor_scores])
    values = [*everyone.tolist(), *([open_set.threshold.value] if open_set.threshold else [])]
    across = span(values, SCORES[open_set.score])
    groups = {"the known": open_set.known_scores, "strangers": open_set.impostor_scores}
    chart = _histogram("Who scores how?", across, groups, None, _BINS)
    if open_set.threshold:
        chart.rule(open_set.threshold.value, "threshold")
    return chart


def _histogram(title: str, across: Axis, groups: Mapping[str, NDArray[np.float64]], of: int | None, bins: int) -> Chart:
    """Bars of the first group upwards and of the second downwards, where they have any; shares of `of`, or each of its own."""
    edges = np.linspace(across.low, across.high, bins + 1).tolist()
    drawn = [
        (name, style, sign * np.histogram(values, edges)[0] / (of or len(values)))
        for (name, values), style, sign in zip(groups.items(), ("one", "two"), (1, -1), strict=True)
        if len(values)
    ]
    ends = [0.0, *(float(end) for _, _, shares in drawn for end in (shares.min(), shares.max()))]
    chart = Chart(title, across, Axis("share", 1.05 * min(ends), 1.05 * max(ends), percent=True))
    for name, style, shares in drawn:
        chart.legend.append((style, name))
        for low, high, value in zip(edges, edges[1:], shares.tolist(), strict=False):
            if value:
                words = f"{abs(value):.1%}: {name}, {across.text(low)} to {across.text(high)}"
                chart.bar(low, high, value, style, words)
    return chart


def identification_curve(open_set: OpenSetResult) -> Chart | None:
    """Known people let in and named right, against strangers let in, at every threshold; None without strangers."""
    if open_set.rates is None:
        return None
    chart = Chart(
        "What does turning strangers away cost?",
        Axis("strangers given a name", _LEAST_RATE, 1, log=True, percent=True),
        Axis("known kept and named right", 0, 1, percent=True),
    )
    far, right = open_set.rates.false_accept_rates, open_set.rates.identification_rates
    # Steps: between two strangers nothing changes but the known.
    chart.line("any threshold", np.repeat(far, 2)[1:].tolist(), np.repeat(right, 2)[:-1].tolist(), "one")
    if open_set.false_accept_rate is not None and open_set.identification_rate is not None:
        share = open_set.false_accept_rate
        words = (
            f"the threshold in use: {share:.1%} of strangers named, {open_set.identification_rate:.1%} of the known identified"
        )
        chart.dot(share, open_set.identification_rate, "two", words)
        chart.legend.append(("two", "the threshold in use"))
    return chart
