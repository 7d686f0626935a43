"""The features of a face: head and ears, beard, nose, mouth, eyes, glasses."""

import math

import numpy as np

from facecls.synthetic.draw.brush import INK, WHITE, Brush, Numbers, Points, ellipse, mix, shaded_skin, smooth, symmetric
from facecls.synthetic.people import Person, Photograph

FRECKLES = ((0.3, 0.2), (0.42, 0.16), (0.36, 0.28), (0.5, 0.24), (0.22, 0.27), (0.57, 0.31), (0.46, 0.34), (0.1, 0.14))


def draw_head(brush: Brush, person: Person) -> None:
    w, pose = person.head_width, brush.pose
    for side in (-1, 1):
        brush.blob(side * w * 1.02, 0.06, 0.14, 0.22, shaded_skin(person, 0.06), pose.behind_rim)
        brush.blob(side * w * 1.04, 0.06, 0.07, 0.13, shaded_skin(person, 0.26), pose.behind_rim)
        if person.earrings:
            brush.blob(side * w * 1.06, 0.34, 0.075, 0.075, (250, 212, 90), pose.behind_rim)
    skull = [(0, -1), (0.56 * w, -0.9), (0.9 * w, -0.52), (w, -0.08)]
    chin = [(w * cheek(person), 0.3), (w * person.jaw * 0.96, 0.6), (w * person.chin, 0.92), (0, 1.01)]
    brush.fill(symmetric([*skull, *chin]), person.skin, pose.on_rim)
    for side in (-1, 1):
        for size in (0.24, 0.17, 0.1):
            brush.blob(side * w * 0.58, 0.32, size, size * 0.72, (232, 84, 78, 26))
        for x, y in FRECKLES if person.freckles else ():
            brush.blob(side * x, y, 0.024, 0.024, (*shaded_skin(person, 0.5), 190))
    if person.mole:
        brush.blob(*person.mole, 0.035, 0.035, (70, 38, 30))


def cheek(person: Person) -> float:
    """Half the width of the face below the ears, as a share of head_width."""
    return 0.45 + 0.55 * person.jaw


def draw_beard(brush: Brush, person: Person) -> None:
    if person.beard in ("stubble", "full", "long"):
        draw_full_beard(brush, person)
    if person.beard == "goatee":
        knots = [(0, 0.66), (0.2, 0.7), (0.3, 0.62), (0.34, 0.85), (0.2, 1.1), (0, 1.18)]
        brush.fill(symmetric(knots), person.hair_colour)
    if person.beard in ("moustache", "goatee"):
        m = person.mouth_width * (1.25 if person.beard == "moustache" else 1.0)
        knots = [(0, 0.4), (m * 0.5, 0.38), (m, 0.5), (m * 1.2, 0.47), (m * 0.9, 0.585), (m * 0.4, 0.54), (0, 0.5)]
        brush.fill(symmetric(knots), person.hair_colour, brush.pose.above_face)


def draw_full_beard(brush: Brush, person: Person) -> None:
    w, shaved = person.head_width, person.beard == "stubble"
    bulk, drop = (1.0, 1.0) if shaved else (1.05, 1.14 if person.beard == "full" else 1.6)
    colour = (*person.hair_colour, 88) if shaved else mix(person.hair_colour, INK, 0.1)
    corner = (w * person.chin * (1.0 if shaved else 1.1), 0.46 * (1 + drop))
    right = np.asarray([(0, drop), corner, (w * person.jaw * 0.96 * bulk, 0.6), (w * cheek(person) * bulk, 0.3), (w * 0.99, 0)])
    outer = smooth(np.concatenate([right[:0:-1] * (-1, 1), right]))
    around_mouth = np.asarray([(0, 0.36), (0.3, 0.36), (w * 0.74, 0.38), (w * 0.93, 0.05)])
    inner = smooth(np.concatenate([around_mouth[::-1], around_mouth[1:] * (-1, 1)]))
    brush.fill_pixels(np.concatenate([brush.pose.on_rim(outer), brush.pose.on_face(inner)]), colour)


def draw_nose(brush: Brush, person: Person) -> None:
    tip, w = person.nose_length * 0.9, person.nose_width

    def on_nose(points: Points) -> Points:  # in front of the face, most at the tip
        return brush.pose.on_face(points, 0.26 * np.clip(points[:, 1] / tip, 0, 1))

    shadow = [(0, -0.06), (0.035, 0.0), (w * 0.55, tip * 0.7), (w * 1.05, tip), (w * 0.6, tip + 0.08), (0, tip + 0.1)]
    bridge = [(0, -0.1), (0.03, 0.0), (w * 0.4, tip * 0.7), (w * 0.7, tip), (w * 0.3, tip + 0.045), (0, tip + 0.055)]
    brush.fill(symmetric(shadow), shaded_skin(person, 0.22), on_nose)
    brush.fill(symmetric(bridge), mix(person.skin, (255, 236, 214), 0.22), on_nose)
    for side in (-1, 1):
        brush.blob(side * w * 0.52, tip + 0.05, w * 0.24, 0.03, shaded_skin(person, 0.55), on_nose)


def draw_mouth(brush: Brush, person: Person, photograph: Photograph) -> None:
    t = np.linspace(-1, 1, 15)
    x, arch = t * person.mouth_width * (1 + 0.12 * photograph.smile), 1 - t**2
    line = 0.58 + 0.13 * photograph.smile * (arch - 0.55)
    under = line + photograph.mouth_open * arch
    cupid = 1 - 0.3 * np.exp(-((t / 0.16) ** 2))
    full, dark = person.lips * np.sqrt(arch), mix(person.lip_colour, INK, 0.55)

    def between(top: Numbers, bottom: Numbers) -> Points:
        return np.concatenate([np.stack([x, top], axis=1), np.stack([x, bottom], axis=1)[::-1]])

    brush.fill(between(line - full * cupid, under + full * 1.35), person.lip_colour)
    brush.fill(between(line, under), dark)
    brush.fill(between(line, line + 0.45 * (under - line)), (250, 246, 238))  # teeth
    if photograph.mouth_open < 0.03:
        brush.stroke(np.stack([x * 1.06, line], axis=1), 0.03 * (1.2 - np.abs(t)), dark)
    gloss = between(under + person.lips * 0.55 * arch, under + person.lips * 0.85 * arch) * (0.5, 1)
    brush.fill(gloss, (*mix(person.lip_colour, WHITE, 0.5), 90))


def draw_eye(brush: Brush, person: Person, photograph: Photograph, side: int) -> None:
    half, tall = person.eye_width, person.eye_width * person.eye_height * (1 - 0.93 * photograph.blink)
    cos, sin = math.cos(math.radians(person.eye_tilt)), math.sin(math.radians(person.eye_tilt))

    def at(x: Numbers, y: Numbers) -> Points:  # eye coordinates (x outwards) to face coordinates
        return np.stack([side * (person.eye_gap + x * cos + y * sin), y * cos - x * sin], axis=1)

    def lid(x: Numbers) -> Numbers:
        return tall * np.clip(1 - (x / half) ** 2, 0, 1) ** 0.75

    t = np.linspace(-1, 1, 13)
    x = t * half
    there_and_back = np.concatenate([x, x[::-1]])
    socket = np.concatenate([-lid(x) * 1.25 - 0.03, lid(x) * 0.9 + 0.02])
    brush.fill(at(there_and_back * 1.12, socket), shaded_skin(person, 0.16))
    brush.fill(at(there_and_back, np.concatenate([-lid(x), lid(x) * 0.8])), (250, 248, 244))
    look_x, look_y = side * photograph.gaze[0] * half * 0.32, photograph.gaze[1] * half * 0.12
    size = half * 0.6
    for share, colour in ((1.0, mix(person.iris, INK, 0.45)), (0.84, person.iris), (0.45, (16, 12, 14))):
        disc = ellipse(look_x, look_y, size * share, size * share)
        visible = np.clip(disc[:, 1], -lid(disc[:, 0]), lid(disc[:, 0]) * 0.8)  # hidden by the lids
        brush.fill(at(disc[:, 0], visible), colour)
    if photograph.blink < 0.5:
        glint = ellipse(look_x - side * size * 0.3, look_y - size * 0.32, size * 0.2, size * 0.2)
        brush.fill(at(glint[:, 0], glint[:, 1]), WHITE)
    brush.stroke(at(x * 1.06, -lid(x)), 0.045 * (0.75 + 0.45 * t), INK)
    draw_brow(brush, person, photograph.smile, side)


def draw_brow(brush: Brush, person: Person, smile: float, side: int) -> None:
    inner, half = person.eye_gap - person.eye_width * 1.05, person.eye_width
    y, tilt, arch = -half * 0.95 - 0.13 - 0.04 * smile, person.brow_tilt, person.brow_arch
    knots = [(inner, y + tilt / 2), (inner + half * 1.3, y - arch - tilt / 2), (inner + half * 2.35, y - arch * 0.2 - tilt)]
    brow = smooth(knots) * (side, 1)
    weight = person.brow_weight * np.linspace(1.1, 0.35, len(brow))
    brush.stroke(brow, weight, mix(person.hair_colour, INK, 0.45))


def draw_glasses(brush: Brush, person: Person) -> None:
    if person.glasses == "none":
        return
    gap, colour, worn = person.eye_gap + 0.01, person.glasses_colour, brush.pose.above_face
    height, power = {"round": (0.29, 1.0), "square": (0.22, 0.45), "cat": (0.22, 0.75)}[person.glasses]
    half = min(gap - 0.05, 0.31)
    for side in (-1, 1):
        rim = ellipse(0, 0, half, height, power)
        if person.glasses == "cat":  # the outer upper corners sweep up
            outward, upward = np.clip(rim / (half, -height), 0, 1).T
            rim += np.stack([outward * 0.05, -outward * upward * 0.2], axis=1)
        rim = (rim + np.asarray((gap, 0.03))) * (side, 1)
        brush.fill(rim, (255, 255, 255, 22), worn)
        brush.stroke(np.concatenate([rim, rim[:2]]), 0.055, colour, worn)
        brush.stroke(np.asarray([(gap + half, -0.03), (person.head_width, -0.06)]) * (side, 1), 0.05, colour, worn)
        brush.stroke(np.asarray([(side * gap - 0.1, 0.08), (side * gap + 0.06, -0.12)]), 0.03, (255, 255, 255, 80), worn)
    brush.stroke(smooth([(half - gap, 0.0), (0, -0.05), (gap - half, 0.0)]), 0.05, colour, worn)
