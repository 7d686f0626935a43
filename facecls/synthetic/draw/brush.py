"""The tools: a pose (from face coordinates to pixels), a brush, curves, and the mixing of colours."""

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from facecls.synthetic.people import Person, Photograph

Point: TypeAlias = tuple[float, float]
Numbers: TypeAlias = NDArray[np.float64]
Points: TypeAlias = NDArray[np.float64]  # (N, 2), in face coordinates or in pixels
Colour: TypeAlias = tuple[int, ...]  # red, green, blue and perhaps alpha, 0 to 255
Place: TypeAlias = Callable[[Points], Points]  # from face coordinates to pixels

OVERSAMPLING = 3  # drawn this many times larger, then averaged: Pillow's polygons have hard edges
INK = (38, 26, 28)
WHITE = (255, 255, 255)


class Pose:
    """From face coordinates to pixels of the large canvas, by an orthographic view of an egg that turns and nods."""

    def __init__(self, person: Person, photograph: Photograph) -> None:
        self.half_width = person.head_width
        self.unit = photograph.scale * min(photograph.width, photograph.height) * OVERSAMPLING
        self.x = photograph.centre[0] * photograph.width * OVERSAMPLING
        self.y = photograph.centre[1] * photograph.height * OVERSAMPLING
        self.roll, self.turn, self.nod = (math.radians(a) for a in (photograph.roll, photograph.turn, photograph.nod))

    def on_face(self, points: Points, lift: float | Numbers = 0.0) -> Points:
        """Pixels of points on the front of the head, or `lift` in front of it."""
        x, y = points.T
        z = 0.8 * np.sqrt(np.clip(1 - (x / self.half_width) ** 2 - (y / 1.2) ** 2, 0, 1)) + lift
        return self._to_pixels(x * math.cos(self.turn) + z * math.sin(self.turn), y + (z - 0.6) * math.sin(self.nod))

    def on_rim(self, points: Points, depth: float = 0.0) -> Points:
        """Pixels of points on the outline, which keeps its shape when the head turns, but for the chin: it lies in front."""
        x, y = points.T
        z = depth + 0.45 * np.clip(y, 0, 1) ** 2
        return self._to_pixels(x + z * math.sin(self.turn), y + (z - 0.1) * math.sin(self.nod))

    def above_face(self, points: Points) -> Points:
        """Pixels of what is worn a little in front of the face."""
        return self.on_face(points, 0.1)

    def behind_rim(self, points: Points) -> Points:
        """Pixels of ears and hair, a little behind the outline."""
        return self.on_rim(points, -0.25)

    def on_body(self, points: Points) -> Points:
        """Pixels of points on neck and shoulders, which follow the head's roll only by half."""
        return self._to_pixels(points[:, 0], points[:, 1], roll=self.roll / 2)

    def _to_pixels(self, x: Numbers, y: Numbers, roll: float | None = None) -> Points:
        angle = self.roll if roll is None else roll
        cos, sin = math.cos(angle), math.sin(angle)
        return np.stack([self.x + self.unit * (x * cos - y * sin), self.y + self.unit * (x * sin + y * cos)], axis=1)


class Brush:
    """Fills shapes and draws strokes that are given in face coordinates; they lie on the face unless placed elsewhere."""

    def __init__(self, canvas: Image.Image, pose: Pose) -> None:
        self.width, self.height = canvas.size
        self.pixels = ImageDraw.Draw(canvas, "RGBA")  # this mode blends colours that have an alpha
        self.pose = pose

    def fill(self, points: Points, colour: Colour, place: Place | None = None) -> None:
        self.fill_pixels((place or self.pose.on_face)(points), colour)

    def blob(self, x: float, y: float, rx: float, ry: float, colour: Colour, place: Place | None = None) -> None:
        self.fill(ellipse(x, y, rx, ry), colour, place)

    def stroke(self, points: Points, weight: float | Numbers, colour: Colour, place: Place | None = None) -> None:
        """A line as wide as `weight`: one width, or one for each point."""
        path = (place or self.pose.on_face)(points)
        along = np.gradient(path, axis=0)
        across = along[:, ::-1] * (-1, 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
        across *= np.broadcast_to(weight, len(path))[:, None] * self.pose.unit / 2
        self.fill_pixels(np.concatenate([path + across, (path - across)[::-1]]), colour)

    def fill_pixels(self, points: Points, colour: Colour) -> None:
        self.pixels.polygon([(x, y) for x, y in points.tolist()], fill=colour)


def ellipse(x: float, y: float, rx: float, ry: float, power: float = 1.0) -> Points:
    """An ellipse's outline; a `power` below 1 makes it boxier."""
    t = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    cos, sin = np.cos(t), np.sin(t)
    right, down = np.sign(cos) * np.abs(cos) ** power, np.sign(sin) * np.abs(sin) ** power
    return np.stack([x + rx * right, y + ry * down], axis=1)


def smooth(knots: Sequence[Point] | Points, closed: bool = False, steps: int = 6) -> Points:
    """A Catmull-Rom curve through the knots."""
    k = np.asarray(knots, dtype=np.float64)
    before, after = (k[-1:], k[:2]) if closed else (k[:1], k[-1:])
    around = np.concatenate([before, k, after])
    a, b, c, d = (around[i : len(around) - 3 + i, None] for i in range(4))
    t = (np.arange(steps) / steps)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    flat: Points = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, k[-1:]])


def symmetric(right_half: Sequence[Point]) -> Points:
    """A smooth closed outline from the knots of its right half, top middle to bottom middle."""
    return smooth([*right_half, *((-x, y) for x, y in reversed(right_half[1:-1]))], closed=True)


def taper(points: Points) -> Numbers:
    """Weights from thin to 1 to thin along the points."""
    return np.sin(np.linspace(0.05, math.pi - 0.05, len(points)))


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))


def flushed(person: Person, share: float) -> Colour:
    """The person's skin in its own shade: darker and redder."""
    return mix(person.skin, (96, 24, 20), share)
