"""Cuts a face out of an image, upright and at a fixed place: a similarity transform puts its landmarks onto a template."""

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from facecls.faces.detect import DetectedFace, Pixels, Point

Matrix: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Template:
    """Where the landmarks of an upright face are in a square of `side` x `side` pixels.

    landmarks: (5, 2), in the order of `DetectedFace.landmarks`.
    weights: (K, 5), the K points that are fitted, as weighted means of the landmarks.
    """

    side: float
    landmarks: tuple[Point, Point, Point, Point, Point]
    weights: tuple[tuple[float, float, float, float, float], ...]


TEMPLATES: dict[str, Template] = {
    # Both eyes, and one point between nose and mouth: steadier for turned heads than all five.
    "face150": Template(
        side=150,
        landmarks=((46.25, 44.93), (102.75, 44.93), (74.5, 77.16), (50.2, 102.03), (98.8, 102.03)),
        weights=((1, 0, 0, 0, 0), (0, 1, 0, 0, 0), (0, 0, 0.42, 0.29, 0.29)),
    ),
}

# A box as the place of a face150 square: the medians over the faces of LFW that YuNet finds.
_SIDE_OF_BOX = 1.07  # side of the square, in square roots of the box's area
_BELOW_BOX = 0.06  # from the box's centre down to the square's, in sides of the square

_LARGEST_RATIO = 4  # of the sides of the squares by landmarks and by box


def align(image: Pixels, face: DetectedFace, size: int, margin: float = 0.0, template: str = "face150") -> Pixels:
    """The face as uint8 (S, S, 3), S = `size`, resampled once; black beyond the image.

    image: the upright RGB image in which the face was found, uint8 (H, W, 3).
    margin: what is shown around the template's square, on each of its sides, as a share of its side; above -0.5.
    """
    assert image.dtype == np.uint8 and image.ndim == 3 and size >= 1 and margin > -0.5, (image.shape, size, margin)
    to_image = np.linalg.inv(np.vstack((face_transform(face, template), (0, 0, 1))))
    side = 1 + 2 * margin
    to_image = to_image @ np.array([[side / size, 0, -margin], [0, side / size, -margin], [0, 0, 1]])
    return _warp(image, to_image[:2], size)


def aligned_side(face: DetectedFace, margin: float = 0.0, template: str = "face150") -> float:
    """The side of the square that `align` resamples, in pixels of the image."""
    return float((1 + 2 * margin) / np.hypot(*face_transform(face, template)[:, 0]))


def face_transform(face: DetectedFace, template: str = "face150") -> Matrix:
    """(2, 3): the similarity transform from pixels of the image to the template's square, [0, 1) x [0, 1).

    Landmarks that are not finite, coincide, or are far from the box are ignored: the square is then placed by the box alone.
    """
    chosen = TEMPLATES[template]
    weights = np.array(chosen.weights)
    with np.errstate(all="ignore"):  # the transform is checked
        fitted = similarity(weights @ np.array(face.landmarks), weights @ np.array(chosen.landmarks) / chosen.side)
    x, y, width, height = face.box
    side = _SIDE_OF_BOX * math.sqrt(width * height)
    centre = x + width / 2, y + height / 2 + _BELOW_BOX * side
    if _is_near(fitted, centre, side):
        return fitted
    return np.array([[1 / side, 0, 0.5 - centre[0] / side], [0, 1 / side, 0.5 - centre[1] / side]])


def similarity(source: Matrix, target: Matrix) -> Matrix:
    """(2, 3): the rotation, scale and shift that take points (K, 2) nearest to others, by least squares (Umeyama 1991).

    There is no reflection. The result is not finite if the source points coincide.
    """
    z, w = source @ (1, 1j), target @ (1, 1j)  # as complex numbers a similarity is w = a z + b
    deviation = z - z.mean()
    a = np.vdot(deviation, w - w.mean()) / np.vdot(deviation, deviation).real
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def _is_near(transform: Matrix, centre: Point, side: float) -> bool:
    """Whether a transform to the unit square has about the place and size of a square in the image.

    The box of a face cut by the border is much smaller than the face, so this is generous.
    """
    with np.errstate(all="ignore"):
        fitted_side = 1 / np.hypot(*transform[:, 0])
        distance = np.hypot(*(transform @ (*centre, 1) - 0.5))  # in sides of the unit square
    return bool(1 / _LARGEST_RATIO <= fitted_side / side <= _LARGEST_RATIO and distance <= 1)  # False for NaN


def _warp(image: Pixels, to_image: Matrix, size: int) -> Pixels:
    """S x S pixels, where (2, 3) `to_image` leads from their coordinates to those of the image.

    When shrinking, blocks of the image are averaged first, so that bilinear sampling does not alias.
    """
    factor = max(1, math.floor(np.hypot(*to_image[:, 0]) + 1e-6))
    corners = to_image @ np.array([[0, size, 0, size], [0, 0, size, size], [1, 1, 1, 1]])
    height, width = image.shape[:2]
    left, top = np.maximum(np.floor(corners.min(axis=1)).astype(int) - factor - 1, 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + factor + 1, (width, height))
    if left >= right or top >= bottom:
        return np.zeros((size, size, 3), dtype=np.uint8)
    part = Image.fromarray(image[top:bottom, left:right]).reduce(factor)
    to_part = (to_image - [[0, 0, left], [0, 0, top]]) / factor
    coefficients = tuple(to_part.ravel().tolist())
    return np.array(part.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR))
