"""Charts as SVG coordinates: lines, points, bars and vertical lines; `charts.html.j2` draws them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 400, 270  # of the SVG's view box; the page scales it
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 20, 44  # margins around the plot area


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`; `log` is base 10."""

    label: str
    low: float
    high: float
    log: bool = False
    percent: bool = False
    integer: bool = False  # ticks at whole numbers only

    def fraction(self, value: float) -> float:
        """The position of a value between `low` (0) and `high` (1); values outside are clipped."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values on the axis, with their labels."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            values = [10.0**power for power in range(first, last + 1, max(1, (last - first) // 5))]
        else:
            step = _round_step(max((self.high - self.low) / 5, float(self.integer)))
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            values = [step * number for number in range(first, last + 1)]
        return [(value, self.format(value)) for value in values]

    def format(self, value: float) -> str:
        """A value as a tick label."""
        return f"{100 * value:.4g} %" if self.percent else f"{value + 0.0:.4g}"


@dataclass(frozen=True)
class Mark:
    """A point, a bar (with a size) or a vertical line, in SVG coordinates; `text` is its tooltip or label."""

    x: float
    y: float
    width: float = 0
    height: float = 0
    style: str = "one"
    text: str = ""


@dataclass
class Chart:
    """A chart, filled through `line`, `point`, `bar` and `vline`, which take values on the axes."""

    title: str
    x: Axis
    y: Axis
    lines: list[tuple[str, str]] = field(default_factory=list)  # (style, SVG points)
    points: list[Mark] = field(default_factory=list)
    bars: list[Mark] = field(default_factory=list)
    vlines: list[Mark] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)  # (style, name)

    width, height, left, right, top, bottom = WIDTH, HEIGHT, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM

    def x_of(self, value: float) -> float:
        """The SVG x coordinate of a value."""
        return round(self.left + self.x.fraction(value) * (self.right - self.left), 1)

    def y_of(self, value: float) -> float:
        """The SVG y coordinate of a value."""
        return round(self.bottom - self.y.fraction(value) * (self.bottom - self.top), 1)

    def line(self, name: str, xs: Sequence[float], ys: Sequence[float], style: str) -> None:
        """Adds a line through the finite points, and a legend entry if it has a name."""
        places = [(self.x_of(x), self.y_of(y)) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
        distinct = [place for n, place in enumerate(places) if n == 0 or place != places[n - 1]]
        self.lines.append((style, " ".join(f"{x},{y}" for x, y in distinct)))
        if name:
            self.legend.append((style, name))

    def point(self, x: float, y: float, style: str, tooltip: str) -> None:
        """Adds a point."""
        self.points.append(Mark(self.x_of(x), self.y_of(y), style=style, text=tooltip))

    def bar(self, low: float, high: float, value: float, style: str, tooltip: str) -> None:
        """Adds a bar over [low, high] of the x axis, from 0 up or down to `value`."""
        left, right = self.x_of(low), self.x_of(high)
        top, bottom = sorted((self.y_of(value), self.y_of(0)))
        width, height = round(max(0.0, right - left - 1), 1), round(bottom - top, 1)
        self.bars.append(Mark(round(left + 0.5, 1), top, width, height, style, tooltip))

    def vline(self, x: float, label: str) -> None:
        """Adds a vertical line; its label is above the plot area."""
        self.vlines.append(Mark(self.x_of(x), self.top - 6, text=label))


def fit_axis(values: Sequence[float], label: str, *, zero: bool = False) -> Axis:
    """An axis that holds all finite values with a margin of 4 %; it starts at 0 if `zero` and no value is negative."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if zero:
        low = min(low, 0.0)
    if high - low < 1e-9:
        low, high = low - 0.5 * (not zero), high + 0.5
    margin = 0.04 * (high - low)
    return Axis(label, low if zero and low == 0 else low - margin, high + margin)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))
