from itertools import pairwise

import numpy as np
import pytest
from jinja2 import Environment, PackageLoader

from facecls.evaluation.intervals import wilson_interval
from facecls.evaluation.result import OpenSetResult
from facecls.open_set.rates import identification_rates
from facecls.open_set.temperature import ReliabilityBin
from facecls.report.charts import Chart
from facecls.report.curves import confidence_histogram, identification_curve, reliability_diagram, training_curves
from facecls.run import EpochMetrics


def svg_points(chart: Chart, *places: tuple[float, float]) -> str:
    """Points in axis values as the SVG points of a line."""
    return " ".join(f"{chart.x_of(x)},{chart.y_of(y)}" for x, y in places)


def test_the_error_bars_of_a_reliability_diagram_are_wilson_intervals() -> None:
    filled, empty = ReliabilityBin(0.6, 0.8, 20, 0.7, 0.65), ReliabilityBin(0.8, 1.0, 0, None, None)
    chart = reliability_diagram([], [filled, empty])
    low, high = wilson_interval(13, 20)
    assert [line for style, line in chart.lines if style == "error-bar"] == [svg_points(chart, (0.7, low), (0.7, high))]


def test_the_identification_curve_is_level_between_two_impostors() -> None:
    known, impostors = np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.75, 0.5, 0.1, 0.1])
    rates = identification_rates(known, np.array([True, False, True, True]), impostors)
    assert (rates.false_accept_rates.tolist(), rates.identification_rates.tolist()) == (
        [0, 0.25, 0.5, 1],
        [0.25, 0.5, 0.75, 0.75],
    )
    open_set = OpenSetResult("probability", known, impostors, rates=rates)
    chart = identification_curve(open_set)
    assert chart is not None
    steps = ((0, 0.25), (0.25, 0.25), (0.25, 0.5), (0.5, 0.5), (0.5, 0.75), (1, 0.75))
    assert [line for _, line in chart.lines] == [svg_points(chart, *steps)]


def test_mistakes_are_drawn_downwards_also_without_correct_predictions() -> None:
    probabilities, labels = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), np.array([1, 0, 0])
    chart = confidence_histogram(probabilities, labels)
    assert chart.legend == [("two", "incorrect")]
    assert [(bar.style, bar.y, bar.text[:16]) for bar in chart.bars] == 3 * [("two", chart.y_of(0), "33.3%: incorrect")]
    assert chart.y.low < -1 / 3 and chart.y.high == 0
    template = '{% import "charts.html.j2" as charts %}{{ charts.draw(chart) }}'
    html = Environment(loader=PackageLoader("facecls.report")).from_string(template).render(chart=chart)
    assert '<span><i class="two"></i>incorrect</span>' in html


def test_correct_predictions_are_drawn_upwards_and_mistakes_downwards() -> None:
    chart = confidence_histogram(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
    assert chart.legend == [("one", "correct"), ("two", "incorrect")]
    correct, incorrect = chart.bars
    assert (correct.style, incorrect.style) == ("one", "two")
    assert correct.y < chart.y_of(0) == incorrect.y
    assert correct.height == pytest.approx(incorrect.height)


def test_losses_with_an_outlier_are_drawn_on_a_logarithmic_axis() -> None:
    def rows(*losses: float) -> list[EpochMetrics]:
        return [EpochMetrics(n, 1, 32, 0.1, loss, 0.5, loss, 0.5, 0.5, 1.0, 0.0, 1.0) for n, loss in enumerate(losses)]

    loss, accuracy, _ = training_curves(rows(2.0, 11_974.0, 1.5, 1.0), 3)
    assert (loss.title, loss.y.log, accuracy.y.log) == ("Loss (logarithmic)", True, False)
    heights = [loss.y_of(value) for value in (2.0, 1.5, 1.0)]
    assert min(abs(one - other) for one, other in pairwise(heights)) > 5  # pixels; on a linear axis 0.01
    assert training_curves(rows(2.0, 4.0, 1.5, 1.0), 3)[0].y.log is False
