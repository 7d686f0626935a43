"""Draws a synthetic face: shapes on a rotated ellipsoid, drawn large, downsampled, then lit, blurred and noised.

Face coordinates: (0, 0) is the middle of the face, x points to the viewer's right, y down; the crown is y = -1, the chin
y = 1.
"""

import numpy as np
from PIL import Image

from facecls.synthetic.draw.brush import OVERSAMPLING, Brush, Pose
from facecls.synthetic.draw.face import draw_beard, draw_eye, draw_glasses, draw_head, draw_mouth, draw_nose
from facecls.synthetic.draw.hair import draw_hair, draw_hair_behind
from facecls.synthetic.draw.scene import develop, draw_backdrop, draw_body, draw_occlusion
from facecls.synthetic.people import Person, Photograph

__all__ = ["draw_face"]


def draw_face(person: Person, photograph: Photograph) -> Image.Image:
    """The upright image of a person in RGB, or in `L` if `photograph.grey`."""
    rng = np.random.default_rng(photograph.grain)
    canvas = Image.new("RGB", (photograph.width * OVERSAMPLING, photograph.height * OVERSAMPLING))
    pose = Pose(person, photograph)
    brush = Brush(canvas, pose)
    draw_backdrop(brush, photograph, rng)
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
    draw_occlusion(brush, person, photograph, rng)
    return develop(canvas.reduce(OVERSAMPLING), photograph, pose, rng)
