"""Draw a synthetic face with Pillow: shapes on a turned egg, drawn large, then averaged, lit and blurred like a photograph.

Face coordinates: (0, 0) is the middle of the face, x goes to the viewer's right, y down; the crown is y = -1, the chin y = 1.
"""

import numpy as np
from PIL import Image

from facecls.synthetic.draw.brush import OVERSAMPLING, Brush, Pose
from facecls.synthetic.draw.face import draw_beard, draw_eye, draw_glasses, draw_head, draw_mouth, draw_nose
from facecls.synthetic.draw.hair import draw_hair, draw_hair_behind
from facecls.synthetic.draw.scene import develop, draw_backdrop, draw_body, draw_cover
from facecls.synthetic.people import Person, Photograph

__all__ = ["draw_face"]


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
