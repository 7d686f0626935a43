"""Numbers to the places of lines, dots and bars in a chart; a template draws them as SVG."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

WIDTH, HEIGHT = 400, 270  # what a chart is laid out in; it is shown as wide as there is room
LEFT, RIGHT, TOP, BOTTOM = 66, 24, 12, 44
_WORDS = 60  # how far words beside a rule reach


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` along a side of the chart; `log` in tenfold steps."""

    label: str
    low: float
    high: float
    log: bool = False
    percent: bool = False

    def place(self, value: float) -> float:
        """The share of the way from `low` to `high`, in [0, 1]."""
        value = min(max(value, self.low), self.high)
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values on the axis and how they are written."""
        if self.log:
            first, last = math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9)
            values = [10.0**power for power in range(first, last + 1)]
        else:
            step = _round_step((self.high - self.low) / 5)
            first = math.ceil(self.low / step - 1e-9)
            values = [step * number for number in range(first, math.floor(self.high / step + 1e-9) + 1)]
        return [(value, self.text(value)) for value in values]

    def text(self, value: float) -> str:
        """A value as people write it."""
        return f"{100 * value:.4g} %" if self.percent else f"{value + 0.0:.4g}"


@dataclass(frozen=True)
class Mark:
    """A dot (of no size), a bar, or a point's words: its place, its size, and what it says when it is pointed at."""

    x: float
    y: float
    width: float = 0
    height: float = 0
    style: str = "one"
    words: str = ""


@dataclass(frozen=True)
class Line:
    """A line through points, as SVG writes them."""

    name: str
    points: str
    style: str


@dataclass
class Chart:
    """A chart, filled by its `line`, `dot`, `bar` and `rule`; all take values on the axes."""

    title: str
    x: Axis
    y: Axis
    lines: list[Line] = field(default_factory=list)
    dots: list[Mark] = field(default_factory=list)
    bars: list[Mark] = field(default_factory=list)
    rules: list[Mark] = field(default_factory=list)
    legend: list[tuple[str, str]] = field(default_factory=list)  # (style, name)

    width, height, left, right, top, bottom = WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM

    def across(self, value: float) -> float:
        """Where a value of the x axis lies in the drawing."""
        return LEFT + self.x.place(value) * (WIDTH - LEFT - RIGHT)

    def down(self, value: float) -> float:
        """Where a value of the y axis lies in the drawing."""
        return HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - TOP - BOTTOM)

    def line(self, name: str, xs: Sequence[float], ys: Sequence[float], style: str) -> "Chart":
        """Joins the points; with a name it stands in the legend."""
        places = [(f"{self.across(x):.1f}", f"{self.down(y):.1f}") for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
        thinned = [place for n, place in enumerate(places) if n == 0 or place != places[n - 1]]
        self.lines.append(Line(name, " ".join(f"{x},{y}" for x, y in thinned), style))
        if name:
            self.legend.append((style, name))
        return self

    def dot(self, x: float, y: float, style: str, words: str) -> "Chart":
        """A point that says something."""
        self.dots.append(Mark(self.across(x), self.down(y), style=style, words=words))
        return self

    def bar(self, low: float, high: float, value: float, style: str, words: str, base: float = 0) -> "Chart":
        """A bar over [low, high] of the x axis, from `base` up or down to `value`."""
        left, right = self.across(low), self.across(high)
        top, bottom = sorted((self.down(value), self.down(base)))
        self.bars.append(Mark(left + 0.5, top, max(0.0, right - left - 1), bottom - top, style, words))
        return self

    def rule(self, x: float, words: str) -> "Chart":
        """An upright line at a value, with words beside it, where the lines that are drawn so far leave room."""
        place = self.across(x)
        near = [
            float(y)
            for line in self.lines
            for x_of, y in (point.split(",") for point in line.points.split())
            if abs(float(x_of) - place) < _WORDS
        ]
        heights = (TOP + 11, (TOP + HEIGHT - BOTTOM) / 2, HEIGHT - BOTTOM - 8)
        self.rules.append(
            Mark(place, max(heights, key=lambda height: min((abs(height - y) for y in near), default=0)), words=words)
        )
        return self


def span(values: Sequence[float], label: str, *, percent: bool = False, zero: bool = False) -> Axis:
    """An axis that holds all the values with a little room, from 0 if `zero`."""
    finite = [value for value in values if math.isfinite(value)] or [0.0, 1.0]
    low, high = min(finite), max(finite)
    if zero:
        low = min(low, 0.0)
    if high - low < 1e-9:
        low, high = low - 0.5 * (not zero), high + 0.5
    available = 0.04 * (high - low)
    return Axis(label, low if zero and low == 0 else low - available, high + available, percent=percent)


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not below `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= least * (1 - 1e-9))
