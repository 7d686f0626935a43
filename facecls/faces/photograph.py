"""From a photograph to the faces in it: found, aligned, cut out. Training, evaluation and prediction share it."""

import contextlib
import functools
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from facecls.errors import ImageError
from facecls.faces.align import align, aligned_side
from facecls.faces.decode import open_with_header, upright_rgb
from facecls.faces.detect import DetectedFace, Detector, DetectorOptions, Pixels, Point, build_detector, main_face
from facecls.faces.geometry import Detection, Geometry, ImageSource, array_image

NO_FACE = "no face found"

_LARGEST_ENLARGEMENT = 2.0  # of a face, from which on the file is decoded at its full size, if it has more pixels

_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


class NoFaceError(ImageError):
    """Raised for an image in which no face was found."""


@dataclass(frozen=True)
class FoundFaces:
    """The faces in an image, in pixels of the upright image at full size: the main face first, then the largest."""

    width: int
    height: int
    faces: tuple[DetectedFace, ...]


class Photograph:
    """An image in which faces are sought: a JPEG is decoded at a fraction of its size, and again where a face is small.

    `turn`: by how many degrees the image is turned clockwise, a multiple of 90. Raises ImageError if it cannot be read.
    """

    def __init__(self, source: ImageSource, options: DetectorOptions, turn: int = 0) -> None:
        if hasattr(source, "read") and not isinstance(source, Image.Image):
            source = source.read()  # a file object can be read once
        self._source, self._turn = source, turn
        self._largest: Pixels | None = None
        self.name = os.fspath(source) if isinstance(source, str | os.PathLike) else "image"
        self.image, self.full = _open(source, max(options.sizes), turn)
        self._pixels = np.asarray(self.image)

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
                self._largest = np.asarray(_open(self._source, None, self._turn)[0])
        if self._largest is None:
            return align(self._pixels, decoded, size, margin)
        return align(self._largest, face, size, margin)

    @property
    def _scale(self) -> Point:
        """Full size by decoded size, in x and y."""
        return self.full[0] / self.image.width, self.full[1] / self.image.height


def find_faces(source: ImageSource, detection: Detection) -> FoundFaces:
    """The faces in an image. Raises ImageError if it cannot be read, and as `build_detector` does."""
    photograph = Photograph(source, detection.options)
    return FoundFaces(*photograph.full, tuple(photograph.faces(_detector(detection.detector, detection.options))))


def cut_face(source: ImageSource, face: DetectedFace | None, geometry: Geometry) -> Pixels:
    """A face that `find_faces` found, as uint8 (S, S, 3); None: the whole image, or NoFaceError.

    Raises ImageError if the image cannot be read.
    """
    assert geometry.detection is not None
    photograph = Photograph(source, geometry.detection.options)
    if face is None:
        return _whole(photograph, geometry)
    return photograph.cut(face, geometry.image_size, geometry.detection.margin)


def read_faces(source: ImageSource, geometry: Geometry) -> list[tuple[DetectedFace | None, Pixels]]:
    """All faces in an image with their pixels, as `find_faces` and `cut_face` give them; decodes the image once, mostly.

    An image without a face is one whole, with None, or raises NoFaceError.
    """
    detection = geometry.detection
    assert detection is not None
    photograph = Photograph(source, detection.options)
    found = photograph.faces(_detector(detection.detector, detection.options))
    if not found:
        return [(None, _whole(photograph, geometry))]
    return [(face, photograph.cut(face, geometry.image_size, detection.margin)) for face in found]


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


def _open(source: ImageSource, at_least: int | None, turn: int) -> tuple[Image.Image, tuple[int, int]]:
    """The RGB image, and its width and height at full size; `at_least` as in `open_image`."""
    if isinstance(source, np.ndarray | Image.Image):
        image = array_image(source) if isinstance(source, np.ndarray) else upright_rgb(source)
        width, height = image.size
    else:
        image, header = open_with_header(source, at_least)
        width, height = header.width, header.height  # before it is turned upright by its EXIF orientation
        if abs(image.width * width - image.height * height) < abs(image.width * height - image.height * width):
            width, height = height, width
    if turn:
        image = image.transpose(_TURNS[turn])
        width, height = (height, width) if turn % 180 else (width, height)
    return image, (width, height)
