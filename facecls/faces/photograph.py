"""From a photograph to the faces in it: found, aligned, cut out. Training, evaluation and prediction share it."""

import contextlib
import copy
import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from facecls.errors import ImageError, NoFaceError
from facecls.faces.align import align, aligned_side
from facecls.faces.decode import open_with_header, upright_rgb
from facecls.faces.detect import DetectedFace, Detector, DetectorOptions, Pixels, Point, build_detector, main_face
from facecls.faces.geometry import Detection, Geometry, ImageSource, array_image

NO_FACE = "no face found"

_LARGEST_ENLARGEMENT = 2.0  # of a face, from which on the file is decoded at its full size, if it has more pixels

# YuNet also finds sideways and inverted faces, with landmarks as if they were upright, and lower scores. By this rule no
# upright image of LFW and ORL is taken for turned, and at most 6 % of turned ones for another turn; of masked faces 2 %, and 6
# to 35 % (docs/results.md).
_UPRIGHT_SCORE = 0.9  # with a higher score the other turns are not searched
_TURNED_LEAD = 0.05  # by which the score in another turn must be higher

_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


@dataclass(frozen=True)
class FoundFaces:
    """The faces in an image, in pixels of the upright image at full size: the main face first, then the largest.

    turn: by how many degrees clockwise the image seems to have to be turned to make the faces upright; mostly 0.
    """

    width: int
    height: int
    faces: tuple[DetectedFace, ...]
    turn: int = 0


class Photograph:
    """An image in which faces are sought: a JPEG is decoded at a fraction of its size, and again where a face is small.

    Raises ImageError if the image cannot be read.
    """

    def __init__(self, source: ImageSource, options: DetectorOptions) -> None:
        self._source = source.read() if hasattr(source, "read") and not isinstance(source, Image.Image) else source
        self._turn = 0
        self._largest: Pixels | None = None
        self.name = os.fspath(source) if isinstance(source, str | os.PathLike) else "image"
        self.image, self.full = _open(self._source, max(options.sizes))
        self._pixels = np.asarray(self.image)

    def turned(self, degrees: int) -> "Photograph":
        """The image turned clockwise by 90, 180 or 270 degrees."""
        other = copy.copy(self)
        other._turn, other._largest = degrees, None
        other.image = self.image.transpose(_TURNS[degrees])
        other.full = self.full[::-1] if degrees % 180 else self.full
        other._pixels = np.asarray(other.image)
        return other

    def faces(self, detector: Detector) -> list[DetectedFace]:
        """The faces in pixels of the image at full size: the main face first, then the largest."""
        faces = detector(self._pixels)
        if faces:
            main = main_face(faces, *self.image.size)
            faces = [main, *(face for face in faces if face is not main)]
        return [_scaled(face, *self._scale) for face in faces]

    def cut(self, face: DetectedFace, size: int, margin: float) -> Pixels:
        """A face, in pixels of the image at full size, as `align` cuts it out: uint8 (S, S, 3)."""
        x, y = self._scale
        decoded = _scaled(face, 1 / x, 1 / y)
        if (x, y) == (1, 1) or aligned_side(decoded, margin) * _LARGEST_ENLARGEMENT >= size:
            return align(self._pixels, decoded, size, margin)
        if self._largest is None:
            with contextlib.suppress(ImageError):  # if it has more pixels than are decoded at full size
                largest = _open(self._source, None)[0]
                self._largest = np.asarray(largest.transpose(_TURNS[self._turn]) if self._turn else largest)
        if self._largest is None:
            return align(self._pixels, decoded, size, margin)
        return align(self._largest, face, size, margin)

    @property
    def _scale(self) -> Point:
        """Full size by decoded size, in x and y."""
        return self.full[0] / self.image.width, self.full[1] / self.image.height


def find_upright(
    photograph: Photograph, faces: list[DetectedFace], detector: Detector, *, always: bool = False
) -> tuple[Photograph, list[DetectedFace], int]:
    """The image turned so that its `faces` are upright, the faces in it, and the turn, degrees clockwise; mostly 0.

    The three other quarter turns are searched if the best score is low; with `always` also if there is no face.
    """
    score = _best_score(faces)
    best, upright, turn = photograph, faces, 0
    if score <= _UPRIGHT_SCORE and (faces or always):
        for degrees in _TURNS:
            turned = photograph.turned(degrees)
            found = turned.faces(detector)
            if _best_score(found) > max(score + _TURNED_LEAD, _best_score(upright)):
                best, upright, turn = turned, found, degrees
    return best, upright, turn


def _best_score(faces: Sequence[DetectedFace]) -> float:
    return max((face.score for face in faces), default=0)


def find_faces(source: ImageSource, detection: Detection) -> FoundFaces:
    """The faces in an image as it is, and whether it seems to be turned.

    Raises ImageError if the image cannot be read, and as `build_detector` does.
    """
    photograph, faces, turn = _search(source, detection)
    return FoundFaces(*photograph.full, tuple(faces), turn)


def _search(source: ImageSource, detection: Detection) -> tuple[Photograph, list[DetectedFace], int]:
    """The image, the faces in it as it is, and the turn that would make them upright."""
    detector = _detector(detection.detector, detection.options)
    photograph = Photograph(source, detection.options)
    faces = photograph.faces(detector)
    return photograph, faces, find_upright(photograph, faces, detector)[2]


def cut_face(source: ImageSource, face: DetectedFace | None, geometry: Geometry) -> Pixels:
    """A face that `find_faces` found, as uint8 (S, S, 3); None: the whole image, or NoFaceError.

    Raises ImageError if the image cannot be read.
    """
    assert geometry.detection is not None
    photograph = Photograph(source, geometry.detection.options)
    if face is None:
        return _whole(photograph, geometry)
    return photograph.cut(face, geometry.image_size, geometry.detection.margin)


@dataclass(frozen=True)
class CutFace:
    """A face of an image, uint8 (S, S, 3), where it was found, and `turn` as in FoundFaces; None: the image as a whole."""

    pixels: Pixels
    found: DetectedFace | None = None
    turn: int = 0


def read_faces(source: ImageSource, geometry: Geometry) -> list[CutFace]:
    """All faces in an image, as `find_faces` and `cut_face` give them; decodes the image once, mostly.

    An image without a face is one whole, or raises NoFaceError.
    """
    detection = geometry.detection
    assert detection is not None
    photograph, faces, turn = _search(source, detection)
    if not faces:
        return [CutFace(_whole(photograph, geometry))]
    return [CutFace(photograph.cut(face, geometry.image_size, detection.margin), face, turn) for face in faces]


def _whole(photograph: Photograph, geometry: Geometry) -> Pixels:
    assert geometry.detection is not None
    if not geometry.detection.whole_if_none:
        raise NoFaceError(photograph.name, NO_FACE)
    return geometry(photograph.image)


@functools.lru_cache(8)
def _detector(name: str, options: DetectorOptions) -> Detector:
    return build_detector(name, options)


def _scaled(face: DetectedFace, x: float, y: float) -> DetectedFace:
    if (x, y) == (1, 1):
        return face
    left, top, width, height = face.box
    points: Any = tuple((px * x, py * y) for px, py in face.landmarks)
    return replace(face, box=(left * x, top * y, width * x, height * y), landmarks=points)


def _open(source: ImageSource, at_least: int | None) -> tuple[Image.Image, tuple[int, int]]:
    """The RGB image, and its width and height at full size; `at_least` as in `open_image`."""
    if isinstance(source, np.ndarray | Image.Image):
        image = array_image(source) if isinstance(source, np.ndarray) else upright_rgb(source)
        width, height = image.size
    else:
        image, header = open_with_header(source, at_least)
        width, height = header.width, header.height  # before it is turned upright by its EXIF orientation
        if abs(image.width * width - image.height * height) < abs(image.width * height - image.height * width):
            width, height = height, width
    return image, (width, height)
