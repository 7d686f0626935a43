"""Hair: a shape behind the head, one between outline and hairline, and extra shapes of some styles."""

from dataclasses import dataclass

import numpy as np

from facecls.synthetic.draw.brush import INK, Brush, Colour, Place, Point, Points, mix, shaded_skin, smooth, symmetric, taper
from facecls.synthetic.people import Hair, Person


@dataclass(frozen=True)
class HairStyle:
    """The shapes of a style; x in units of half the head's width, y of half its height."""

    line: tuple[Point, ...] = ()  # hairline from left to right; empty: no hair on the skull
    lift: float = 0.0  # height of the hair above the skull
    behind: tuple[Point, ...] = ()  # right half of the hair behind the head
    curl: float = 0.0  # radius of the curls along the edges
    sharp: bool = False  # spikes instead of a smooth edge


# Formatted by hand: one value a line would be hard to read.
# fmt: off
HIGH = ((-1, -0.1), (-0.88, -0.42), (-0.62, -0.62), (0, -0.66), (0.62, -0.62), (0.88, -0.42), (1, -0.1))
TIGHT = ((-1, -0.05), (-0.9, -0.45), (-0.55, -0.74), (0, -0.8), (0.55, -0.74), (0.9, -0.45), (1, -0.05))
SWEPT = ((-1, 0.05), (-0.9, -0.4), (-0.58, -0.72), (0, -0.54), (0.55, -0.4), (0.87, -0.24), (1, 0.1))
PARTED = ((-1, 0.42), (-0.92, -0.05), (-0.66, -0.45), (0, -0.84), (0.66, -0.45), (0.92, -0.05), (1, 0.42))
STRAIGHT = ((-1, 0.4), (-0.9, 0), (-0.84, -0.26), (0, -0.24), (0.84, -0.26), (0.9, 0), (1, 0.4))
LOW = ((-1, 0.05), (-0.86, -0.3), (-0.5, -0.42), (0, -0.46), (0.5, -0.42), (0.86, -0.3), (1, 0.05))
ROUND = ((-1, -0.1), (-0.86, -0.44), (-0.5, -0.54), (0, -0.57), (0.5, -0.54), (0.86, -0.44), (1, -0.1))
JAGGED = ((-1, 0), (-0.92, -0.42), (-0.72, -0.3), (-0.5, -0.52), (-0.25, -0.32), (0.02, -0.54), (0.3, -0.32), (0.55, -0.54),
          (0.75, -0.32), (0.92, -0.45), (1, 0))
TO_THE_CHIN = ((0, -1.1), (0.85, -0.95), (1.16, -0.3), (1.24, 0.4), (1.22, 0.78), (0.6, 0.86), (0, 0.86))
TO_THE_CHEST = ((0, -1.1), (0.8, -0.95), (1.12, -0.3), (1.2, 0.5), (1.34, 1.3), (1.1, 1.8), (0.4, 1.9), (0, 1.9))
CLOUD = ((0, -1.5), (0.85, -1.36), (1.5, -0.75), (1.56, -0.1), (1.15, 0.35), (0, 0.4))
MOP = ((0, -1.1), (0.9, -0.95), (1.2, -0.3), (1.26, 0.25), (1.1, 0.6), (0, 0.6))
WAVE = ((0, -1.1), (0.9, -0.95), (1.3, -0.45), (1.12, -0.05), (1.42, 0.35), (1.16, 0.75), (1.45, 1.15), (1.1, 1.45), (0, 1.4))
TAIL = ((0.9, -0.45), (1.35, -0.6), (1.75, -0.1), (1.7, 0.55), (1.45, 0.95), (1.3, 0.4), (1.15, -0.1))
TUFT = ((-0.8, -0.55), (-0.95, -0.95), (-0.7, -1.3), (-0.1, -1.5), (0.6, -1.45), (1, -1.2), (0.86, -1), (0.8, -0.62),
        (0, -0.58))
SHAVED = ((0, -1.02), (0.72, -0.86), (1.01, -0.42), (1, -0.1), (0.86, -0.42), (0.5, -0.7), (0, -0.72))
# fmt: on

STYLES: dict[Hair, HairStyle] = {
    "bald": HairStyle(),
    "crop": HairStyle(HIGH, lift=0.05),
    "parting": HairStyle(SWEPT, lift=0.16),
    "fringe": HairStyle(STRAIGHT, lift=0.13, behind=TO_THE_CHIN),
    "long": HairStyle(PARTED, lift=0.1, behind=TO_THE_CHEST),
    "curls": HairStyle(LOW, lift=0.12, behind=MOP, curl=0.17),
    "afro": HairStyle(ROUND, lift=0.35, behind=CLOUD, curl=0.1),
    "bun": HairStyle(TIGHT, lift=0.06),
    "quiff": HairStyle(HIGH, lift=0.04),
    "mohawk": HairStyle(),
    "pigtails": HairStyle(PARTED, lift=0.08),
    "tufts": HairStyle(),
    "spikes": HairStyle(JAGGED, lift=0.2, sharp=True),
    "waves": HairStyle(SWEPT, lift=0.17, behind=WAVE),
}


def draw_hair_behind(brush: Brush, person: Person) -> None:
    style, w, behind = STYLES[person.hair], person.head_width, brush.pose.behind_rim
    colour, shade = person.hair_colour, mix(person.hair_colour, INK, 0.28)
    if style.behind:
        outline = symmetric(style.behind) * (w * (0.7 + 0.3 * person.hair_volume), 1)
        brush.fill(outline, shade, behind)
        if style.curl:
            draw_curls(brush, outline[::4], style.curl, shade, behind)
    if person.hair == "bun":
        size = 0.34 * person.hair_volume
        brush.blob(0, -1.02 - size * 0.8, size, size * 0.9, colour, behind)
        fold = smooth([(-size * 0.6, -1.02 - size), (0, -1.1 - size * 1.2), (size * 0.6, -1.0 - size)])
        brush.stroke(fold, 0.03, shade, behind)
    if person.hair == "pigtails":
        for side in (-1, 1):
            brush.fill(smooth(TAIL, closed=True) * (side * w, 1), colour, behind)
            brush.stroke(smooth([(1.25, -0.4), (1.52, 0.1), (1.5, 0.7)]) * (side * w, 1), 0.03, shade, behind)
            brush.blob(side * w * 1.12, -0.4, 0.13, 0.13, person.glasses_colour, behind)


def draw_hair(brush: Brush, person: Person) -> None:
    if STYLES[person.hair].line:
        draw_hair_on_skull(brush, person)
    on_top = {"quiff": draw_quiff, "mohawk": draw_mohawk, "tufts": draw_tufts}.get(person.hair)
    if on_top:
        on_top(brush, person)


def draw_hair_on_skull(brush: Brush, person: Person) -> None:
    style, pose, w = STYLES[person.hair], brush.pose, person.head_width
    line = np.asarray(style.line)[:: person.parting] * (w * person.parting, 1)
    lift = style.lift * person.hair_volume
    shoulder, temple = (w * (0.72 + lift * 0.7), -0.84 - lift * 0.6), (w * (1.03 + lift / 3), -0.42)
    half = np.asarray([(0, -1.02 - lift), shoulder, temple, (w * 1.02, 0)])
    arc = np.concatenate([half[:0:-1] * (-1, 1), half])
    arc[[0, -1], 1] = line[[0, -1], 1]  # both curves end at the same points, at the ears
    outer, inner = smooth(arc), smooth(line)
    if style.sharp:
        outer, inner = smooth(arc, steps=3), line
        outer[::2] *= 1.2
    brush.stroke(inner + np.asarray((0, 0.035)), 0.11, (*shaded_skin(person, 0.6), 80))  # separates fair hair from fair skin
    edges = np.concatenate([pose.on_rim(outer), pose.on_face(inner)[::-1]])
    brush.fill_pixels(edges, person.hair_colour)
    if style.curl:
        draw_curls(brush, outer[2:-2:3], style.curl * 0.8, person.hair_colour, pose.behind_rim)
        draw_curls(brush, inner[2:-2:3], style.curl * 0.8, person.hair_colour, pose.on_face)
    elif not style.sharp:
        crown = arc[1:-1]
        for share in (0.35, 0.62):  # two highlights between hairline and crown
            strand = smooth((line[1:-1] * (1 - share) + crown * share)[:4])
            brush.stroke(strand, 0.05 * taper(strand), highlight(person))


def draw_quiff(brush: Brush, person: Person) -> None:
    rim, across = brush.pose.on_rim, person.head_width * person.parting
    tuft = smooth(TUFT, closed=True) * (across, person.hair_volume) - np.asarray((0, 0.6 * (1 - person.hair_volume)))
    brush.fill(tuft, person.hair_colour, rim)
    for x in (-0.6, -0.25, 0.1):
        strand = smooth([(x, -0.7), (x + 0.05, -1.05), (x + 0.5, -1.3)]) * (across, 1)
        brush.stroke(strand, 0.045 * taper(strand), highlight(person), rim)


def draw_mohawk(brush: Brush, person: Person) -> None:
    rim = brush.pose.on_rim
    brush.fill(symmetric(SHAVED) * (person.head_width, 1), (*mix(person.hair_colour, INK, 0.3), 90), rim)
    x = np.linspace(-0.46, 0.46, 9)
    y = -1.1 - (0.5 - x**2) * person.hair_volume * np.where(np.arange(9) % 2, 0.62, 1.0)
    comb = np.concatenate([np.stack([x, y], axis=1), [(0.24, -0.6), (0, -0.5), (-0.24, -0.6)]])
    brush.fill(comb, person.hair_colour, rim)
    strand = np.asarray([(-0.05, -0.7), (-0.06, -1.0), (-0.08, -1.3)])
    brush.stroke(strand, 0.06 * taper(strand), highlight(person), rim)


def draw_tufts(brush: Brush, person: Person) -> None:
    for side in (-1, 1):
        for x, y, radius in ((0.98, -0.3, 0.17), (1.1, -0.08, 0.2), (1.04, 0.16, 0.16), (0.9, -0.48, 0.12)):
            size = radius * person.hair_volume
            brush.blob(side * x * person.head_width, y, size, size, person.hair_colour, brush.pose.behind_rim)


def draw_curls(brush: Brush, centres: Points, radius: float, colour: Colour, place: Place) -> None:
    for x, y in centres.tolist():
        brush.blob(x, y, radius, radius, colour, place)


def highlight(person: Person) -> Colour:
    return mix(person.hair_colour, (255, 240, 214), 0.22)
