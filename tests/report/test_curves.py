import numpy as np
import pytest
from jinja2 import Environment, PackageLoader

from facecls.evaluation.intervals import wilson_interval
from facecls.evaluation.result import OpenSetResult
from facecls.open_set.rates import identification_rates
from facecls.open_set.temperature import ReliabilityBin
from facecls.report.charts import Chart
from facecls.report.curves import confidence_histogram, identification_curve, reliability_diagram


def points(chart: Chart, *places: tuple[float, float]) -> str:
    """Points in values of the axes as a line of the chart has them."""
    return " ".join(f"{chart.across(x):.1f},{chart.down(y):.1f}" for x, y in places)


def test_the_whiskers_of_a_reliability_diagram_are_the_intervals_of_its_bars() -> None:
    filled, empty = ReliabilityBin(0.6, 0.8, 20, 0.7, 0.65), ReliabilityBin(0.8, 1.0, 0, None, None)
    chart = reliability_diagram([], [filled, empty])
    low, high = wilson_interval(13, 20)
    assert [line.points for line in chart.lines if line.style == "whisker"] == [points(chart, (0.7, low), (0.7, high))]


def test_the_identification_curve_goes_on_level_until_the_next_stranger_is_let_in() -> None:
    known, impostors = np.array([0.9, 0.8, 0.7, 0.2]), np.array([0.75, 0.5, 0.1, 0.1])
    rates = identification_rates(known, np.array([True, False, True, True]), impostors)
    assert rates.false_accept_rates.tolist() == [0, 0.25, 0.5, 1]
    assert rates.identification_rates.tolist() == [0.25, 0.5, 0.75, 0.75]
    open_set = OpenSetResult("probability", known, impostors, rates=rates)
    chart = identification_curve(open_set)
    assert chart is not None
    steps = ((0, 0.25), (0.25, 0.25), (0.25, 0.5), (0.5, 0.5), (0.5, 0.75), (1, 0.75))
    assert [line.points for line in chart.lines] == [points(chart, *steps)]


def test_mistakes_are_drawn_downwards_also_where_nothing_was_named_right() -> None:
    shares, labels = np.array([[0.9, 0.1], [0.2, 0.8], [0.3, 0.7]]), np.array([1, 0, 0])
    chart = confidence_histogram(shares, labels)
    assert chart.legend == [("two", "mistakes")]
    assert [(bar.style, bar.y, bar.words[:15]) for bar in chart.bars] == 3 * [("two", chart.down(0), "33.3%: mistakes")]
    assert chart.y.low < -1 / 3 and chart.y.high == 0
    drawing = '{% import "charts.html.j2" as charts %}{{ charts.draw(chart) }}'
    drawn = Environment(loader=PackageLoader("facecls.report")).from_string(drawing).render(chart=chart)
    assert '<span><i class="two"></i>mistakes</span>' in drawn


def test_what_is_named_right_is_drawn_upwards_and_mistakes_downwards() -> None:
    chart = confidence_histogram(np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([0, 0]))
    assert chart.legend == [("one", "named right"), ("two", "mistakes")]
    right, wrong = chart.bars
    assert (right.style, wrong.style) == ("one", "two")
    assert right.y < chart.down(0) == wrong.y
    assert right.height == pytest.approx(wrong.height)
