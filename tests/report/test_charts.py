import math

import numpy as np
import pytest

from facecls.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Chart, span
from facecls.report.matrix import NAMED, whole, worst


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


def test_the_corners_of_the_axes_are_the_corners_of_the_drawing() -> None:
    chart = Chart("", Axis("", 0, 10), Axis("", 0.001, 1, log=True))
    assert (chart.across(0), chart.across(10)) == (LEFT, WIDTH - RIGHT)
    assert (chart.down(0.001), chart.down(1)) == (HEIGHT - BOTTOM, TOP)
    assert chart.across(99) == WIDTH - RIGHT and chart.down(0) == HEIGHT - BOTTOM  # nothing is drawn outside


def test_a_line_leaves_out_what_is_no_number_and_what_lies_on_itself() -> None:
    chart = Chart("", Axis("", 0, 4), Axis("", 0, 1)).line("", [0, 1, 2, 3, 3], [0, math.nan, 1, 0, 0], "one")
    assert len(chart.lines[0].points.split()) == 3


@pytest.mark.parametrize("values", [[], [math.inf], [0.0], [3.0, 3.0], [1.0, 2.0], [-2.0, 5.0]])
def test_an_axis_is_never_empty(values: list[float]) -> None:
    for zero in (True, False):
        axis = span(values, "", zero=zero)
        assert axis.low < axis.high
        assert all(axis.low <= value <= axis.high for value in values if math.isfinite(value))


def test_a_matrix_of_many_classes_shows_the_confused_ones_apart() -> None:
    confusion = np.diag(np.full(200, 5))
    confusion[3, 7], confusion[150, 3] = 2, 1
    names = [f"p{n}" for n in range(200)]
    assert not whole(confusion, names).named
    split = worst(confusion, names)
    assert split is not None and split.classes == ("p3", "p7", "p150") and split.named
    assert "p3 taken for p7: 2 of 7" in {cell.words for cell in split.cells}
    assert len(whole(confusion, names).cells) == 202


def test_a_matrix_of_few_classes_is_shown_once() -> None:
    confusion = np.ones((NAMED, NAMED), int)
    names = [str(n) for n in range(NAMED)]
    assert whole(confusion, names).named and worst(confusion, names) is None
    assert worst(np.diag(np.ones(60, int)), [str(n) for n in range(60)]) is None  # nothing is confused


def test_words_beside_a_rule_stay_clear_of_the_lines() -> None:
    def words_at(*heights: float) -> float:
        chart = Chart("", Axis("", 0, 10), Axis("", 0, 1))
        for height in heights:
            chart.line("", [0, 10], [height, height], "one")
        return 1 - (chart.rule(9, "kept").rules[0].y - chart.down(1)) / (chart.down(0) - chart.down(1))

    assert words_at() > 0.9
    assert words_at(0.0) > 0.9
    assert words_at(1.0) < 0.1
    assert words_at(0.0, 1.0) == pytest.approx(0.5)
