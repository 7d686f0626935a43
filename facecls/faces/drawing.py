"""Draw a synthetic face with Pillow: shapes on a turned egg, drawn large, then averaged, lit and blurred like a photograph.

Face coordinates: (0, 0) is the middle of the face, x goes to the viewer's right, y down; the crown is y = -1, the chin y = 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

if TYPE_CHECKING:  # demo.py draws with this module and owns the records
    from facecls.faces.demo import Person, Photograph

Points: TypeAlias = NDArray[np.float64]  # (N, 2), in face coordinates or in pixels
Colour: TypeAlias = tuple[int, ...]  # red, green, blue and perhaps alpha, 0 to 255
Place: TypeAlias = Callable[[Points], Points]

OVERSAMPLING = 3  # drawn this many times larger, then averaged: Pillow's polygons have hard edges
INK = (38, 26, 28)


def draw_face(person: Person, photograph: Photograph) -> Image.Image:
    """The person as photographed, upright, in RGB (or `L` where the photograph is grey)."""
    chance = np.random.default_rng(photograph.grain)
    canvas = Image.new("RGB", (photograph.width * OVERSAMPLING, photograph.height * OVERSAMPLING))
    pose = Pose(person, photograph)
    brush = Brush(canvas, pose)
    draw_backdrop(brush, photograph, chance)
    draw_hair_behind(brush, person)
    draw_body(brush, person, photograph)
    draw_head(brush, person)
    draw_beard(brush, person)
    draw_nose(brush, person)
    draw_mouth(brush, person, photograph)
    for side in (-1, 1):
        draw_eye(brush, person, photograph, side)
    draw_hair(brush, person)
    draw_glasses(brush, person)
    draw_cover(brush, person, photograph, chance)
    return develop(canvas.reduce(OVERSAMPLING), photograph, pose, chance)


class Pose:
    """From face coordinates to pixels of the large canvas, by an orthographic view of an egg that turns and nods."""

    def __init__(self, person: Person, photograph: Photograph) -> None:
        self.half_width = person.head_width
        self.unit = photograph.scale * min(photograph.width, photograph.height) * OVERSAMPLING
        self.x = photograph.centre[0] * photograph.width * OVERSAMPLING
        self.y = photograph.centre[1] * photograph.height * OVERSAMPLING
        self.roll, self.turn, self.nod = (math.radians(a) for a in (photograph.roll, photograph.turn, photograph.nod))

    def on_face(self, points: Points, lift: float | NDArray[np.float64] = 0.0) -> Points:
        """Pixels of points on the front of the head, or `lift` in front of it."""
        x, y = points.T
        z = 0.8 * np.sqrt(np.clip(1 - (x / self.half_width) ** 2 - (y / 1.2) ** 2, 0, 1)) + lift
        return self._to_pixels(x * math.cos(self.turn) + z * math.sin(self.turn), y + (z - 0.6) * math.sin(self.nod))

    def on_rim(self, points: Points, depth: float = 0.0) -> Points:
        """Pixels of points on the outline, which keeps its shape when the head turns, but for the chin: it lies in front."""
        x, y = points.T
        z = depth + 0.45 * np.clip(y, 0, 1) ** 2
        return self._to_pixels(x + z * math.sin(self.turn), y + (z - 0.1) * math.sin(self.nod))

    def on_body(self, points: Points) -> Points:
        """Pixels of points on neck and shoulders, which follow the head's roll only by half."""
        return self._to_pixels(points[:, 0], points[:, 1], roll=self.roll / 2)

    def _to_pixels(self, x: Points, y: Points, roll: float | None = None) -> Points:
        angle = self.roll if roll is None else roll
        cos, sin = math.cos(angle), math.sin(angle)
        return np.stack([self.x + self.unit * (x * cos - y * sin), self.y + self.unit * (x * sin + y * cos)], axis=1)


class Brush:
    """Fills shapes and draws tapering strokes that are given in face coordinates."""

    def __init__(self, canvas: Image.Image, pose: Pose) -> None:
        self.width, self.height = canvas.size
        self.pixels = ImageDraw.Draw(canvas, "RGBA")  # this mode blends colours that have an alpha
        self.pose = pose

    def fill(self, points: Points, colour: Colour, place: Place | None = None) -> None:
        self.fill_pixels((place or self.pose.on_face)(points), colour)

    def blob(self, x: float, y: float, rx: float, ry: float, colour: Colour, place: Place | None = None) -> None:
        self.fill(ellipse(x, y, rx, ry), colour, place)

    def stroke(
        self, points: Points, weight: float | NDArray[np.float64], colour: Colour, place: Place | None = None
    ) -> None:
        """A line as wide as `weight`, one width or one for each point."""
        path = (place or self.pose.on_face)(points)
        along = np.gradient(path, axis=0)
        across = along[:, ::-1] * (-1, 1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-9)
        across *= np.broadcast_to(weight, len(path))[:, None] * self.pose.unit / 2
        self.fill_pixels(np.concatenate([path + across, (path - across)[::-1]]), colour)

    def fill_pixels(self, points: Points, colour: Colour) -> None:
        self.pixels.polygon([(x, y) for x, y in points.tolist()], fill=colour)


def ellipse(x: float, y: float, rx: float, ry: float, square: float = 1.0) -> Points:
    """An ellipse's outline; `square` below 1 makes it boxier."""
    t = np.linspace(0, 2 * math.pi, 28, endpoint=False)
    cos, sin = np.cos(t), np.sin(t)
    return np.stack(
        [x + rx * np.sign(cos) * np.abs(cos) ** square, y + ry * np.sign(sin) * np.abs(sin) ** square], axis=1
    )


def smooth(points: Sequence[tuple[float, float]] | Points, closed: bool = False, steps: int = 6) -> Points:
    """A Catmull-Rom curve through the points."""
    knots = np.asarray(points, dtype=np.float64)
    before, after = (knots[-1:], knots[:2]) if closed else (knots[:1], knots[-1:])
    k = np.concatenate([before, knots, after])
    a, b, c, d = (k[i : len(k) - 3 + i, None] for i in range(4))
    t = (np.arange(steps) / steps)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    flat: Points = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, knots[-1:]])


def symmetric(right_half: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A closed outline from its right half, top middle to bottom middle."""
    return [*right_half, *((-x, y) for x, y in reversed(right_half[1:-1]))]


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    return tuple(round(a + (b - a) * share) for a, b in zip(colour, other, strict=True))


def flushed(person: Person, share: float) -> Colour:
    """Skin in its own shade: darker and redder."""
    return mix(person.skin, (96, 24, 20), share)


@dataclass(frozen=True)
class Hairdo:
    """Hair as two shapes: one behind the head, one between an arc over the skull and the hairline. x in half head widths."""

    line: tuple[tuple[float, float], ...] = ()  # the hairline from left to right
    lift: float = 0.0  # how high the arc stands above the skull
    behind: tuple[tuple[float, float], ...] = ()  # right half of the shape behind the head
    curl: float = 0.0  # radius of the curls along the edges
    sharp: bool = False  # straight edges instead of smooth ones


HIGH_LINE = ((-1, -0.1), (-0.88, -0.42), (-0.62, -0.62), (0, -0.66), (0.62, -0.62), (0.88, -0.42), (1, -0.1))
SWEPT_LINE = ((-1, 0.05), (-0.9, -0.4), (-0.58, -0.72), (0, -0.54), (0.55, -0.4), (0.87, -0.24), (1, 0.1))
PARTED_LINE = ((-1, 0.42), (-0.92, -0.05), (-0.66, -0.45), (0, -0.84), (0.66, -0.45), (0.92, -0.05), (1, 0.42))
HAIRDOS = {
    "bald": Hairdo(),
    "crop": Hairdo(HIGH_LINE, lift=0.05),
    "parting": Hairdo(SWEPT_LINE, lift=0.16),
    "fringe": Hairdo(
        ((-1, 0.4), (-0.9, 0), (-0.84, -0.26), (0, -0.24), (0.84, -0.26), (0.9, 0), (1, 0.4)),
        lift=0.13,
        behind=((0, -1.1), (0.85, -0.95), (1.16, -0.3), (1.24, 0.4), (1.22, 0.78), (0.6, 0.86), (0, 0.86)),
    ),
    "long": Hairdo(
        PARTED_LINE,
        lift=0.1,
        behind=((0, -1.1), (0.8, -0.95), (1.12, -0.3), (1.2, 0.5), (1.34, 1.3), (1.1, 1.8), (0.4, 1.9), (0, 1.9)),
    ),
    "curls": Hairdo(
        ((-1, 0.05), (-0.86, -0.3), (-0.5, -0.42), (0, -0.46), (0.5, -0.42), (0.86, -0.3), (1, 0.05)),
        lift=0.12,
        curl=0.17,
        behind=((0, -1.1), (0.9, -0.95), (1.2, -0.3), (1.26, 0.25), (1.1, 0.6), (0, 0.6)),
    ),
    "afro": Hairdo(
        ((-1, -0.1), (-0.86, -0.44), (-0.5, -0.54), (0, -0.57), (0.5, -0.54), (0.86, -0.44), (1, -0.1)),
        lift=0.35,
        curl=0.1,
        behind=((0, -1.5), (0.85, -1.36), (1.5, -0.75), (1.56, -0.1), (1.15, 0.35), (0, 0.4)),
    ),
    "bun": Hairdo(
        ((-1, -0.05), (-0.9, -0.45), (-0.55, -0.74), (0, -0.8), (0.55, -0.74), (0.9, -0.45), (1, -0.05)), lift=0.06
    ),
    "quiff": Hairdo(HIGH_LINE, lift=0.04),
    "mohawk": Hairdo(),
    "pigtails": Hairdo(PARTED_LINE, lift=0.08),
    "tufts": Hairdo(),
    "spikes": Hairdo(
        (
            (-1, 0),
            (-0.92, -0.42),
            (-0.72, -0.3),
            (-0.5, -0.52),
            (-0.25, -0.32),
            (0.02, -0.54),
            (0.3, -0.32),
            (0.55, -0.54),
            (0.75, -0.32),
            (0.92, -0.45),
            (1, 0),
        ),
        lift=0.2,
        sharp=True,
    ),
    "waves": Hairdo(
        SWEPT_LINE,
        lift=0.17,
        behind=(
            (0, -1.1),
            (0.9, -0.95),
            (1.3, -0.45),
            (1.12, -0.05),
            (1.42, 0.35),
            (1.16, 0.75),
            (1.45, 1.15),
            (1.1, 1.45),
            (0, 1.4),
        ),
    ),
}


def draw_hair_behind(brush: Brush, person: Person) -> None:
    hairdo, w, rim = HAIRDOS[person.hair], person.head_width, lambda points: brush.pose.on_rim(points, -0.3)
    colour = mix(person.hair_colour, INK, 0.28)
    if hairdo.behind:
        swell = 1 + (person.hair_volume - 1) * 0.3
        outline = smooth(symmetric([(x * w * swell, y) for x, y in hairdo.behind]), closed=True)
        brush.fill(outline, colour, rim)
        if hairdo.curl:
            for x, y in outline[::4].tolist():
                brush.blob(x, y, hairdo.curl, hairdo.curl, colour, rim)
    if person.hair == "bun":
        size = 0.34 * person.hair_volume
        brush.blob(0, -1.02 - size * 0.8, size, size * 0.9, person.hair_colour, rim)
        brush.stroke(
            smooth([(-size * 0.6, -1.02 - size), (0, -1.1 - size * 1.2), (size * 0.6, -1.0 - size)]), 0.03, colour, rim
        )
    if person.hair == "pigtails":
        for side in (-1, 1):
            tail = [(0.9, -0.45), (1.35, -0.6), (1.75, -0.1), (1.7, 0.55), (1.45, 0.95), (1.3, 0.4), (1.15, -0.1)]
            brush.fill(smooth([(x * side * w, y) for x, y in tail], closed=True), person.hair_colour, rim)
            brush.stroke(
                smooth([(x * side * w, y) for x, y in ((1.25, -0.4), (1.52, 0.1), (1.5, 0.7))]), 0.03, colour, rim
            )
            brush.blob(side * w * 1.12, -0.4, 0.13, 0.13, person.glasses_colour, rim)


def draw_hair(brush: Brush, person: Person) -> None:
    hairdo, w, pose = HAIRDOS[person.hair], person.head_width, brush.pose
    colour, shine = person.hair_colour, mix(person.hair_colour, (255, 240, 214), 0.22)
    lift, flip = hairdo.lift * person.hair_volume, person.parting
    if hairdo.line:
        line = [(x * w * flip, y) for x, y in hairdo.line][::flip]
        low_left, low_right = line[0][1], line[-1][1]
        arc = [
            (-w * 1.02, low_left),
            (-w * (1.03 + lift / 3), -0.42),
            (-w * (0.72 + lift * 0.7), -0.84 - lift * 0.6),
            (0, -1.02 - lift),
            (w * (0.72 + lift * 0.7), -0.84 - lift * 0.6),
            (w * (1.03 + lift / 3), -0.42),
            (w * 1.02, low_right),
        ]
        if hairdo.sharp:
            teeth = smooth(arc, steps=3)
            outer = teeth * np.where(np.arange(len(teeth)) % 2, 1.0, 1.2)[:, None]
            inner = np.asarray(line)
        else:
            outer, inner = smooth(arc), smooth(line)
        brush.stroke(inner + (0, 0.035), 0.11, (*flushed(person, 0.6), 80))  # fair hair has to stand out from fair skin
        brush.fill_pixels(np.concatenate([pose.on_rim(outer, -0.08), pose.on_face(inner)[::-1]]), colour)
        for edge, place in ((outer, lambda p: pose.on_rim(p, -0.08)), (inner, pose.on_face)):
            for x, y in edge[2:-2:3].tolist() if hairdo.curl else ():
                brush.blob(x, y, hairdo.curl * 0.8, hairdo.curl * 0.8, colour, place)
        if not (hairdo.curl or hairdo.sharp):
            crown = np.asarray(arc)[np.linspace(1, 5, len(line) - 2).round().astype(int)]
            for share in (0.35, 0.62):  # two strands of light between hairline and crown
                strand = smooth((np.asarray(line)[1:-1] * (1 - share) + crown * share)[: len(line) // 2 + 1])
                brush.stroke(strand, 0.05 * np.sin(np.linspace(0, math.pi, len(strand))), shine)
    if person.hair == "quiff":
        tuft = [
            (-0.8, -0.55),
            (-0.95, -0.95),
            (-0.7, -1.3),
            (-0.1, -1.5),
            (0.6, -1.45),
            (1.0, -1.2),
            (0.86, -1.0),
            (0.8, -0.62),
            (0, -0.58),
        ]
        brush.fill(
            smooth([(x * w * flip, -0.6 + (y + 0.6) * person.hair_volume) for x, y in tuft], closed=True),
            colour,
            pose.on_rim,
        )
        for start in (-0.6, -0.25, 0.1):
            strand = smooth(
                [(start * w * flip, -0.7), ((start + 0.05) * w * flip, -1.05), ((start + 0.5) * w * flip, -1.3)]
            )
            brush.stroke(strand, 0.045 * np.sin(np.linspace(0.1, math.pi, len(strand))), shine, pose.on_rim)
    if person.hair == "mohawk":
        shaved = smooth(
            symmetric(
                [
                    (0, -1.02),
                    (0.72 * w, -0.86),
                    (1.01 * w, -0.42),
                    (w, -0.1),
                    (0.86 * w, -0.42),
                    (0.5 * w, -0.7),
                    (0, -0.72),
                ]
            ),
            closed=True,
        )
        brush.fill(shaved, (*mix(colour, INK, 0.3), 90), pose.on_rim)
        comb = [(-0.24, -0.6)]
        for i, x in enumerate(np.linspace(-0.46, 0.46, 9).tolist()):
            comb.append((x, -1.1 - (0.5 - x * x) * person.hair_volume * (1.0 if i % 2 == 0 else 0.62)))
        brush.fill(np.asarray([*comb, (0.24, -0.6), (0, -0.5)]), colour, pose.on_rim)
        brush.stroke(
            np.asarray([(-0.05, -0.7), (-0.06, -1.0), (-0.08, -1.3)]), np.asarray([0.02, 0.07, 0.0]), shine, pose.on_rim
        )
    if person.hair == "tufts":
        for side in (-1, 1):
            for x, y, r in ((0.98, -0.3, 0.17), (1.1, -0.08, 0.2), (1.04, 0.16, 0.16), (0.9, -0.48, 0.12)):
                brush.blob(
                    side * x * w,
                    y,
                    r * person.hair_volume,
                    r * person.hair_volume,
                    colour,
                    lambda p: pose.on_rim(p, -0.1),
                )


def draw_body(brush: Brush, person: Person, photograph: Photograph) -> None:
    body, (cloth, trim) = brush.pose.on_body, photograph.garment_colours
    neck = 0.5 * person.head_width
    brush.fill(
        np.asarray([(-neck, 0.4), (neck, 0.4), (neck * 1.1, 1.5), (-neck * 1.1, 1.5)]), flushed(person, 0.08), body
    )
    brush.blob(0, 0.86, neck * 1.1, 0.42, flushed(person, 0.3), body)  # the chin's shadow
    shoulders = [
        (0, 1.5),
        (neck * 0.8, 1.42),
        (neck * 1.15, 1.24),
        (1.1, 1.5),
        (1.5, 1.85),
        (1.75, 2.6),
        (2.4, 5),
        (0, 5),
    ]
    brush.fill(smooth(symmetric(shoulders), closed=True), cloth, body)
    if photograph.garment == "round":
        brush.stroke(
            smooth([(-neck * 1.2, 1.22), (-neck * 0.8, 1.44), (0, 1.52), (neck * 0.8, 1.44), (neck * 1.2, 1.22)]),
            0.08,
            trim,
            body,
        )
    elif photograph.garment == "collar":
        for side in (-1, 1):
            brush.fill(
                np.asarray([(side * neck * 1.25, 1.12), (0, 1.55), (side * 0.38, 1.86), (side * neck * 1.75, 1.3)]),
                trim,
                body,
            )
    elif photograph.garment == "hoop":
        for y in (1.75, 2.15, 2.55, 2.95):
            brush.stroke(smooth([(-1.75, y + 0.1), (0, y), (1.75, y + 0.1)]), 0.16, trim, body)
    else:
        brush.fill(ellipse(0, 1.27, neck * 1.22, 0.22, square=0.6), mix(cloth, INK, 0.18), body)
        brush.stroke(smooth([(-neck * 1.15, 1.2), (0, 1.28), (neck * 1.15, 1.2)]), 0.03, mix(cloth, INK, 0.4), body)


def head_outline(person: Person) -> list[tuple[float, float]]:
    w = person.head_width
    return symmetric(
        [
            (0, -1),
            (0.56 * w, -0.9),
            (0.9 * w, -0.52),
            (w, -0.08),
            (w * (0.45 + 0.55 * person.jaw), 0.3),
            (w * person.jaw * 0.96, 0.6),
            (w * person.chin, 0.92),
            (0, 1.01),
        ]
    )


def draw_head(brush: Brush, person: Person) -> None:
    w, pose = person.head_width, brush.pose
    for side in (-1, 1):
        brush.blob(side * w * 1.02, 0.06, 0.14, 0.22, flushed(person, 0.06), lambda p: pose.on_rim(p, -0.25))
        brush.blob(side * w * 1.04, 0.06, 0.07, 0.13, flushed(person, 0.26), lambda p: pose.on_rim(p, -0.25))
        if person.earrings:
            brush.blob(side * w * 1.06, 0.34, 0.075, 0.075, (250, 212, 90), lambda p: pose.on_rim(p, -0.25))
    brush.fill(smooth(head_outline(person), closed=True), person.skin, pose.on_rim)
    for side in (-1, 1):
        for size in (0.24, 0.17, 0.1):
            brush.blob(side * w * 0.58, 0.32, size, size * 0.72, (232, 84, 78, 26))
        if person.freckles:
            for x, y in (
                (0.3, 0.2),
                (0.42, 0.16),
                (0.36, 0.28),
                (0.5, 0.24),
                (0.22, 0.27),
                (0.57, 0.31),
                (0.46, 0.34),
                (0.1, 0.14),
            ):
                brush.blob(side * x, y, 0.024, 0.024, (*flushed(person, 0.5), 190))
    if person.mole:
        brush.blob(*person.mole, 0.035, 0.035, (70, 38, 30))


def draw_beard(brush: Brush, person: Person) -> None:
    w, jaw, pose = person.head_width, person.head_width * person.jaw, brush.pose
    if person.beard in ("stubble", "full", "long"):
        drop = {"stubble": 1.0, "full": 1.14, "long": 1.6}[person.beard]
        colour = (*person.hair_colour, 88) if person.beard == "stubble" else mix(person.hair_colour, INK, 0.1)
        bulk = 1.0 if person.beard == "stubble" else 1.05
        outer = smooth(
            [
                (-w * 0.99, 0.0),
                (-w * (0.45 + 0.55 * person.jaw) * bulk, 0.3),
                (-jaw * 0.96 * bulk, 0.6),
                (-w * person.chin * (1.1 if drop > 1 else 1), 0.92 * (1 + drop) / 2),
                (0, drop),
                (w * person.chin * (1.1 if drop > 1 else 1), 0.92 * (1 + drop) / 2),
                (jaw * 0.96 * bulk, 0.6),
                (w * (0.45 + 0.55 * person.jaw) * bulk, 0.3),
                (w * 0.99, 0.0),
            ]
        )
        inner = smooth(
            [
                (w * 0.93, 0.05),
                (w * 0.74, 0.38),
                (0.3, 0.36),
                (0, 0.36),
                (-0.3, 0.36),
                (-w * 0.74, 0.38),
                (-w * 0.93, 0.05),
            ]
        )
        brush.fill_pixels(np.concatenate([pose.on_rim(outer), pose.on_face(inner)]), colour)
    if person.beard == "goatee":
        brush.fill(
            smooth(symmetric([(0, 0.66), (0.2, 0.7), (0.3, 0.62), (0.34, 0.85), (0.2, 1.1), (0, 1.18)]), closed=True),
            person.hair_colour,
        )
    if person.beard in ("moustache", "goatee"):
        half = person.mouth_width * (1.25 if person.beard == "moustache" else 1.0)
        brush.fill(
            smooth(
                symmetric(
                    [
                        (0, 0.4),
                        (half * 0.5, 0.38),
                        (half, 0.5),
                        (half * 1.2, 0.47),
                        (half * 0.9, 0.585),
                        (half * 0.4, 0.54),
                        (0, 0.5),
                    ]
                ),
                closed=True,
            ),
            person.hair_colour,
            lambda p: pose.on_face(p, 0.08),
        )


def draw_nose(brush: Brush, person: Person) -> None:
    tip, w = person.nose_length * 0.9, person.nose_width
    shadow, dark = flushed(person, 0.22), flushed(person, 0.55)

    def place(points: Points) -> Points:  # the nose grows out of the face towards its tip
        return brush.pose.on_face(points, 0.26 * np.clip(points[:, 1] / tip, 0, 1))

    brush.fill(
        smooth(
            symmetric(
                [
                    (0, -0.06),
                    (0.035, 0.0),
                    (w * 0.55, tip * 0.7),
                    (w * 1.05, tip),
                    (w * 0.6, tip + 0.08),
                    (0, tip + 0.1),
                ]
            ),
            closed=True,
        ),
        shadow,
        place,
    )
    brush.fill(
        smooth(
            symmetric(
                [(0, -0.1), (0.03, 0.0), (w * 0.4, tip * 0.7), (w * 0.7, tip), (w * 0.3, tip + 0.045), (0, tip + 0.055)]
            ),
            closed=True,
        ),
        mix(person.skin, (255, 236, 214), 0.22),
        place,
    )
    for side in (-1, 1):
        brush.blob(side * w * 0.52, tip + 0.05, w * 0.24, 0.03, dark, place)


def draw_mouth(brush: Brush, person: Person, photograph: Photograph) -> None:
    t = np.linspace(-1, 1, 15)
    half = person.mouth_width * (1 + 0.12 * photograph.smile)
    x, arch = t * half, 1 - t**2
    line = 0.58 + 0.13 * photograph.smile * (arch - 0.55)
    gap = photograph.mouth_open * arch
    cupid = 1 - 0.3 * np.exp(-((t / 0.16) ** 2))
    upper, lower = line - person.lips * np.sqrt(arch) * cupid, line + gap + person.lips * 1.35 * np.sqrt(arch)

    def band(top: NDArray[np.float64], bottom: NDArray[np.float64]) -> Points:
        return np.concatenate([np.stack([x, top], axis=1), np.stack([x, bottom], axis=1)[::-1]])

    dark = mix(person.lip_colour, INK, 0.55)
    brush.fill(band(upper, lower), person.lip_colour)
    brush.fill(band(line, line + gap), dark)
    brush.fill(band(line, line + gap * 0.45), (250, 246, 238))
    if photograph.mouth_open < 0.03:
        brush.stroke(np.stack([x * 1.06, line], axis=1), 0.03 * (1.2 - np.abs(t)), dark)
    brush.fill(
        band(line + gap + person.lips * 0.55 * arch, line + gap + person.lips * 0.85 * arch) * (0.5, 1),
        (*mix(person.lip_colour, (255,) * 3, 0.5), 90),
    )


def draw_eye(brush: Brush, person: Person, photograph: Photograph, side: int) -> None:
    half, tall = person.eye_width, person.eye_width * person.eye_height * (1 - 0.93 * photograph.blink)
    tilt = math.radians(person.eye_tilt)
    t = np.linspace(-1, 1, 13)

    def at(x: NDArray[np.float64], y: NDArray[np.float64]) -> Points:  # from the eye, x outwards, to the face
        return np.stack(
            [
                side * (person.eye_gap + x * math.cos(tilt) + y * math.sin(tilt)),
                y * math.cos(tilt) - x * math.sin(tilt),
            ],
            axis=1,
        )

    def lid(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return tall * np.clip(1 - (x / half) ** 2, 0, 1) ** 0.75

    x = t * half
    brush.fill(
        at(np.concatenate([x, x[::-1]]) * 1.12, np.concatenate([-lid(x) * 1.25 - 0.03, lid(x[::-1]) * 0.9 + 0.02])),
        flushed(person, 0.16),
    )
    brush.fill(at(np.concatenate([x, x[::-1]]), np.concatenate([-lid(x), lid(x[::-1]) * 0.8])), (250, 248, 244))
    look_x, look_y = side * photograph.gaze[0] * half * 0.32, photograph.gaze[1] * half * 0.12
    size = half * 0.6
    for share, colour in ((1.0, mix(person.iris, INK, 0.45)), (0.84, person.iris), (0.45, (16, 12, 14))):
        disc = ellipse(look_x, look_y, size * share, size * share)
        brush.fill(at(disc[:, 0], np.clip(disc[:, 1], -lid(disc[:, 0]), lid(disc[:, 0]) * 0.8)), colour)
    if photograph.blink < 0.5:
        glint = ellipse(look_x - side * size * 0.3, look_y - size * 0.32, size * 0.2, size * 0.2)
        brush.fill(at(glint[:, 0], glint[:, 1]), (255, 255, 255))
    brush.stroke(at(x * 1.06, -lid(x)), 0.045 * (0.75 + 0.45 * t), INK)
    inner, arch = person.eye_gap - half * 1.05, person.brow_arch
    lift = -person.eye_width * 0.95 - 0.13 - 0.04 * photograph.smile
    brow = smooth(
        [
            (side * inner, lift + person.brow_tilt / 2),
            (side * (inner + half * 1.3), lift - arch - person.brow_tilt / 2),
            (side * (inner + half * 2.35), lift - arch * 0.2 - person.brow_tilt),
        ]
    )
    weight = person.brow_weight * np.linspace(1.1, 0.35, len(brow))
    brush.stroke(brow, weight, mix(person.hair_colour, INK, 0.45))


def draw_glasses(brush: Brush, person: Person) -> None:
    if person.glasses == "none":
        return
    gap, colour = person.eye_gap + 0.01, person.glasses_colour
    rx, ry = min(gap - 0.05, 0.31), {"round": 0.29, "square": 0.22, "cat": 0.22}[person.glasses]

    def place(points: Points) -> Points:
        return brush.pose.on_face(points, 0.1)

    for side in (-1, 1):
        rim = ellipse(side * gap, 0.03, rx, ry, square={"round": 1.0, "square": 0.45, "cat": 0.75}[person.glasses])
        if person.glasses == "cat":
            outward = np.clip((rim[:, 0] * side - gap) / rx, 0, 1)
            rim -= np.stack([-side * outward * 0.05, outward * np.clip(-rim[:, 1] / ry, 0, 1) * 0.2], axis=1)
        brush.fill(rim, (255, 255, 255, 22), place)
        brush.stroke(np.concatenate([rim, rim[:2]]), 0.055, colour, place)
        brush.stroke(np.asarray([(side * (gap + rx), -0.03), (side * person.head_width, -0.06)]), 0.05, colour, place)
        brush.stroke(
            np.asarray([(side * gap - 0.1, 0.08), (side * gap + 0.06, -0.12)]), 0.03, (255, 255, 255, 80), place
        )
    brush.stroke(smooth([(rx - gap, 0.0), (0, -0.05), (gap - rx, 0.0)]), 0.05, colour, place)


def draw_cover(brush: Brush, person: Person, photograph: Photograph, chance: np.random.Generator) -> None:
    pose, colour, dark = brush.pose, photograph.cover_colour, mix(photograph.cover_colour, INK, 0.3)
    w = person.head_width * 1.1
    if photograph.cover == "hat":
        brush.blob(0, -1.52, 0.17, 0.16, mix(colour, (255,) * 3, 0.5), lambda p: pose.on_rim(p, -0.1))
        brush.fill(
            smooth(
                symmetric([(0, -1.42), (0.5 * w, -1.32), (0.95 * w, -0.9), (1.06 * w, -0.5), (0, -0.44)]), closed=True
            ),
            colour,
            pose.on_rim,
        )
        brush.fill(
            smooth(
                symmetric(
                    [(0, -0.72), (0.6 * w, -0.7), (1.05 * w, -0.66), (1.1 * w, -0.45), (0.6 * w, -0.46), (0, -0.44)]
                ),
                closed=True,
            ),
            dark,
            pose.on_rim,
        )
    elif photograph.cover == "scarf":
        brush.fill(
            smooth(
                symmetric([(0, 0.78), (0.6 * w, 0.72), (1.08 * w, 0.62), (1.16 * w, 1.1), (0.9 * w, 1.5), (0, 1.6)]),
                closed=True,
            ),
            colour,
            pose.on_body,
        )
        for y in (0.95, 1.2):
            brush.stroke(smooth([(-1.08 * w, y - 0.1), (0, y + 0.04), (1.08 * w, y - 0.1)]), 0.06, dark, pose.on_body)
    elif photograph.cover == "leaf":
        side, base = float(chance.choice([-1, 1])), chance.uniform(0.9, 1.4)
        for angle in chance.uniform(-0.5, 0.9, size=5):
            stem = np.asarray([side * 1.5, base + 0.6])
            tip = stem + 1.15 * np.asarray([-side * math.cos(angle), -math.sin(angle)])
            leaf = smooth(
                [
                    tuple(stem),
                    tuple(stem * 0.5 + tip * 0.5 + (0.0, 0.17)),
                    tuple(tip),
                    tuple(stem * 0.5 + tip * 0.5 - (0.0, 0.17)),
                ],
                closed=True,
            )
            brush.fill(leaf, mix(colour, (40, 120, 60), chance.uniform(0.5, 0.9)), pose.on_body)


def draw_backdrop(brush: Brush, photograph: Photograph, chance: np.random.Generator) -> None:
    width, height, pixels = brush.width, brush.height, brush.pixels
    first, second, third = photograph.backdrop_colours
    pixels.rectangle((0, 0, width, height), fill=first)
    if photograph.backdrop == "sweep":
        for i in range(32):
            pixels.rectangle((0, height * i / 32, width, height * (i + 1) / 32), fill=mix(first, second, i / 31))
    elif photograph.backdrop == "stripes":
        step, slant = width / chance.uniform(5, 11), chance.uniform(-0.6, 0.6) * height
        for i in range(-12, 24):
            x = i * 2 * step
            pixels.polygon([(x, 0), (x + step, 0), (x + step + slant, height), (x + slant, height)], fill=second)
    elif photograph.backdrop == "lamps":
        for x, y, r, pick in chance.random((26, 4)).tolist():
            radius = width * (0.03 + 0.1 * r)
            box = (x * width - radius, y * height - radius, x * width + radius, y * height + radius)
            pixels.ellipse(box, fill=(*(second if pick < 0.5 else third), 110))
    elif photograph.backdrop == "shelves":
        for row in range(5):
            x, bottom = 0.0, height * (row + 1) / 5
            while x < width:
                thick, tall = width * chance.uniform(0.03, 0.08), height * chance.uniform(0.1, 0.17)
                book = mix((second, third, first)[int(chance.integers(3))], INK, chance.uniform(0, 0.45))
                pixels.rectangle((x, bottom - tall, x + thick, bottom), fill=book)
                x += thick + width * 0.006
            pixels.rectangle((0, bottom - height * 0.012, width, bottom + height * 0.012), fill=mix(third, INK, 0.5))
    elif photograph.backdrop == "hills":
        sun_x, sun_r = chance.uniform(0, 1) * width, width * 0.1
        pixels.ellipse((sun_x - sun_r, height * 0.08, sun_x + sun_r, height * 0.08 + 2 * sun_r), fill=(255, 236, 170))
        x = np.linspace(0, width, 40)
        for colour, top in ((second, 0.5), (mix(second, third, 0.6), 0.66), (third, 0.8)):
            ridge = height * (top + 0.07 * np.sin(x / width * chance.uniform(3, 9) + chance.uniform(0, 6)))
            pixels.polygon([(0, height), *zip(x.tolist(), ridge.tolist(), strict=True), (width, height)], fill=colour)


def develop(image: Image.Image, photograph: Photograph, pose: Pose, chance: np.random.Generator) -> Image.Image:
    """Light from one side on an egg and, weaker, on what lies around it; then colour cast, blur and noise."""
    y, x = np.mgrid[0 : image.height, 0 : image.width].astype(np.float32)
    u, v = (x * OVERSAMPLING - pose.x) / pose.unit, (y * OVERSAMPLING - pose.y) / pose.unit
    radius = np.sqrt((u / pose.half_width) ** 2 + v**2) + 1e-6
    inside = np.minimum(1 / radius, 1)  # beyond the rim the rim's own slope goes on, fading
    lit = (
        (u / pose.half_width * photograph.light[0] + v * photograph.light[1])
        * inside
        * np.exp(-np.maximum(radius - 1, 0) * 0.8)
    )
    shade = photograph.exposure * (1 + photograph.contrast * (0.9 * lit - 0.25 * np.minimum(radius, 1) ** 2))
    values = np.asarray(image, dtype=np.float32) * shade[..., None] * np.asarray(photograph.cast, dtype=np.float32)
    values = 255 * (1 - np.exp(-1.6 * values / 255)) / (1 - math.exp(-1.6))  # highlights roll off instead of clipping
    lit_image = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).filter(
        ImageFilter.GaussianBlur(photograph.blur)
    )
    grains = chance.standard_normal((image.height, image.width, 3), dtype=np.float32) * photograph.noise
    developed = Image.fromarray(np.clip(np.asarray(lit_image) + grains, 0, 255).astype(np.uint8))
    return developed.convert("L") if photograph.grey else developed
