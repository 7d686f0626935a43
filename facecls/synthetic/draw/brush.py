"""Drawing tools: a pose (face coordinates to pixels), a brush, curves and colour mixing."""

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
Colour: TypeAlias = tuple[int, ...]  # RGB or RGBA, 0 to 255
Place: TypeAlias = Callable[[Points], Points]  # face coordinates to pixels

OVERSAMPLING = 3  # factor of the canvas, which is averaged down: Pillow does not antialias polygons
INK = (38, 26, 28)
WHITE = (255, 255, 255)


class Pose:
    """Face coordinates to canvas pixels, by orthographic projection of an ellipsoid with roll, yaw and pitch."""

    def __init__(self, person: Person, photograph: Photograph) -> None:
        self.half_width = person.head_width
        self.unit = photograph.scale * min(photograph.width, photograph.height) * OVERSAMPLING
        self.x = photograph.centre[0] * photograph.width * OVERSAMPLING
        self.y = photograph.centre[1] * photograph.height * OVERSAMPLING
        self.roll, self.yaw, self.pitch = (math.radians(a) for a in (photograph.roll, photograph.yaw, photograph.pitch))

    def on_face(self, points: Points, lift: float | Numbers = 0.0) -> Points:
        """Pixels of points on the surface of the face, or `lift` in front of it."""
        x, y = points.T
        z = 0.8 * np.sqrt(np.clip(1 - (x / self.half_width) ** 2 - (y / 1.2) ** 2, 0, 1)) + lift
        return self._to_pixels(x * math.cos(self.yaw) + z * math.sin(self.yaw), y + (z - 0.6) * math.sin(self.pitch))

    def on_rim(self, points: Points, depth: float = 0.0) -> Points:
        """Pixels of points on the outline of the head. Yaw moves only its chin, which is in front of the rest."""
        x, y = points.T
        z = depth + 0.45 * np.clip(y, 0, 1) ** 2
        return self._to_pixels(x + z * math.sin(self.yaw), y + (z - 0.1) * math.sin(self.pitch))

    def above_face(self, points: Points) -> Points:
        """Pixels of points a little in front of the face, such as glasses."""
        return self.on_face(points, 0.1)

    def behind_rim(self, points: Points) -> Points:
        """Pixels of points a little behind the outline, such as ears and hair."""
        return self.on_rim(points, -0.25)

    def on_body(self, points: Points) -> Points:
        """Pixels of points on neck and shoulders, which have half the roll of the head."""
        return self._to_pixels(points[:, 0], points[:, 1], roll=self.roll / 2)

    def _to_pixels(self, x: Numbers, y: Numbers, roll: float | None = None) -> Points:
        angle = self.roll if roll is None else roll
        cos, sin = math.cos(angle), math.sin(angle)
        return np.stack([self.x + self.unit * (x * cos - y * sin), self.y + self.unit * (x * sin + y * cos)], axis=1)


class Brush:
    """Fills shapes and draws strokes given in face coordinates, on the face unless `place` maps them elsewhere."""

    def __init__(self, canvas: Image.Image, pose: Pose) -> None:
        self.width, self.height = canvas.size
        self.pixels = ImageDraw.Draw(canvas, "RGBA")  # blends colours with an alpha channel
        self.pose = pose

    def fill(self, points: Points, colour: Colour, place: Place | None = None) -> None:
        self.fill_pixels((place or self.pose.on_face)(points), colour)

    def blob(self, x: float, y: float, rx: float, ry: float, colour: Colour, place: Place | None = None) -> None:
        self.fill(ellipse(x, y, rx, ry), colour, place)

    def stroke(self, points: Points, weight: float | Numbers, colour: Colour, place: Place | None = None) -> None:
        """Draws a line of width `weight`, one for all points or one for each."""
        path = (place or self.pose.on_face)(points)
        along = np.gradient(path, axis=0)
        across = along[:, ::-1] * (-1, 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
        across *= np.broadcast_to(weight, len(path))[:, None] * self.pose.unit / 2
        self.fill_pixels(np.concatenate([path + across, (path - across)[::-1]]), colour)

    def fill_pixels(self, points: Points, colour: Colour) -> None:
        self.pixels.polygon([(x, y) for x, y in points.tolist()], fill=colour)


def ellipse(x: float, y: float, rx: float, ry: float, power: float = 1.0) -> Points:
    """The outline of a superellipse; `power` below 1 makes it more rectangular."""
    t = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    cos, sin = np.cos(t), np.sin(t)
    right, down = np.sign(cos) * np.abs(cos) ** power, np.sign(sin) * np.abs(sin) ** power
    return np.stack([x + rx * right, y + ry * down], axis=1)


def smooth(knots: Sequence[Point] | Points, closed: bool = False, steps: int = 6) -> Points:
    """A Catmull-Rom spline through the knots."""
    k = np.asarray(knots, dtype=np.float64)
    before, after = (k[-1:], k[:2]) if closed else (k[:1], k[-1:])
    around = np.concatenate([before, k, after])
    a, b, c, d = (around[i : len(around) - 3 + i, None] for i in range(4))
    t = (np.arange(steps) / steps)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    points: Points = curve.reshape(-1, 2)
    return points if closed else np.concatenate([points, k[-1:]])


def symmetric(right_half: Sequence[Point]) -> Points:
    """A smooth closed outline from the knots of its right half, from top to bottom."""
    return smooth([*right_half, *((-x, y) for x, y in reversed(right_half[1:-1]))], closed=True)


def taper(points: Points) -> Numbers:
    """Stroke weights along the points: about 0 at both ends, 1 in the middle."""
    return np.sin(np.linspace(0.05, math.pi - 0.05, len(points)))


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))


def shaded_skin(person: Person, share: float) -> Colour:
    """The skin colour in shade: darker and redder."""
    return mix(person.skin, (96, 24, 20), share)
