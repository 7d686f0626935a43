import math

import numpy as np
import pytest

from facecls.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Chart, fit_axis
from facecls.report.matrix import LABELLED, confusion_matrix, most_confused


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        (Axis("", 0, 1, percent=True), ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"]),
        (Axis("", 1, 60), ["20", "40", "60"]),
        (Axis("", -0.05, 0.1), ["-0.05", "0", "0.05", "0.1"]),
        (Axis("", 1e-3, 1, log=True, percent=True), ["0.1 %", "1 %", "10 %", "100 %"]),
    ],
)
def test_ticks_are_round(axis: Axis, texts: list[str]) -> None:
    assert [text for _, text in axis.ticks()] == texts


def test_ticks_of_an_integer_axis_are_whole_numbers() -> None:
    assert [text for _, text in Axis("epoch", 1, 3, integer=True).ticks()] == ["1", "2", "3"]


def test_the_ends_of_the_axes_are_the_corners_of_the_plot_area() -> None:
    chart = Chart("", Axis("", 0, 10), Axis("", 0.001, 1, log=True))
    assert (chart.x_of(0), chart.x_of(10)) == (LEFT, WIDTH - RIGHT)
    assert (chart.y_of(0.001), chart.y_of(1)) == (HEIGHT - BOTTOM, TOP)
    assert chart.x_of(99) == WIDTH - RIGHT and chart.y_of(0) == HEIGHT - BOTTOM  # values outside are clipped


def test_a_line_leaves_out_non_finite_and_repeated_points() -> None:
    chart = Chart("", Axis("", 0, 4), Axis("", 0, 1))
    chart.line("", [0, 1, 2, 3, 3], [0, math.nan, 1, 0, 0], "one")
    assert len(chart.lines[0][1].split()) == 3


@pytest.mark.parametrize("values", [[], [math.inf], [0.0], [3.0, 3.0], [1.0, 2.0], [-2.0, 5.0]])
def test_an_axis_is_never_empty(values: list[float]) -> None:
    for zero in (True, False):
        axis = fit_axis(values, "", zero=zero)
        assert axis.low < axis.high
        assert all(axis.low <= value <= axis.high for value in values if math.isfinite(value))


def test_the_most_confused_of_many_classes_have_a_labelled_matrix() -> None:
    confusion = np.diag(np.full(200, 5))
    confusion[3, 7], confusion[150, 3] = 2, 1
    names = [f"p{n}" for n in range(200)]
    assert not confusion_matrix(confusion, names).labelled
    matrix = most_confused(confusion, names)
    assert matrix is not None and matrix.classes == ("p3", "p7", "p150") and matrix.labelled
    assert "p3 as p7: 2 of 7" in {cell.tooltip for cell in matrix.cells}
    assert len(confusion_matrix(confusion, names).cells) == 202


def test_few_classes_have_only_one_matrix() -> None:
    confusion = np.ones((LABELLED, LABELLED), int)
    names = [str(n) for n in range(LABELLED)]
    assert confusion_matrix(confusion, names).labelled and most_confused(confusion, names) is None
    assert most_confused(np.diag(np.ones(60, int)), [str(n) for n in range(60)]) is None  # nothing is confused


def test_the_label_of_a_vertical_line_stays_clear_of_the_lines() -> None:
    for heights in ((), (0.0,), (1.0,), (0.0, 1.0)):
        chart = Chart("", Axis("", 0, 10), Axis("", 0, 1))
        for height in heights:
            chart.line("", [0, 10], [height, height], "one")
        chart.vline(9, "best")
        assert 0 < chart.vlines[0].y < chart.y_of(1)  # above the plot area
