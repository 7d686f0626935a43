"""From a photograph to the faces in it: found, aligned, cut out. Training, evaluation and prediction share it."""

import functools
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from facecls.errors import ImageError
from facecls.faces.align import align, face_transform
from facecls.faces.decode import open_with_header, upright_rgb
from facecls.faces.detect import DetectedFace, Detector, DetectorOptions, Pixels, Point, build_detector, main_face
from facecls.faces.geometry import Detection, Geometry, ImageSource, array_image

NO_FACE = "no face found"

_LARGEST_ENLARGEMENT = 2.0  # of a face, from which on the file is decoded at its full size, if it has more pixels


class NoFaceError(ImageError):
    """Raised for an image in which no face was found."""


@dataclass(frozen=True)
class FoundFaces:
    """The faces in an image, in pixels of the upright image at full size: the main face first, then the largest."""

    width: int
    height: int
    faces: tuple[DetectedFace, ...]


def find_faces(source: ImageSource, detection: Detection) -> FoundFaces:
    """The faces in an image. Raises ImageError if it cannot be read, and as `build_detector` does."""
    return _find(_Photograph(_rereadable(source), detection), detection)


def cut_face(source: ImageSource, face: DetectedFace | None, geometry: Geometry) -> Pixels:
    """A face that `find_faces` found, as uint8 (S, S, 3); None: the whole image, or NoFaceError.

    Raises ImageError if the image cannot be read.
    """
    assert geometry.detection is not None
    photograph = _Photograph(_rereadable(source), geometry.detection)
    if face is not None:
        return photograph.cut(face, geometry)
    return _whole(photograph, geometry)


def read_faces(source: ImageSource, geometry: Geometry) -> list[tuple[DetectedFace | None, Pixels]]:
    """All faces in an image with their pixels, as `find_faces` and `cut_face` give them; decodes the image once, mostly.

    An image without a face is one whole, with None, or raises NoFaceError.
    """
    assert geometry.detection is not None
    photograph = _Photograph(_rereadable(source), geometry.detection)
    found = _find(photograph, geometry.detection).faces
    if not found:
        return [(None, _whole(photograph, geometry))]
    return [(face, photograph.cut(face, geometry)) for face in found]


class _Photograph:
    """An image, decoded at the size in which faces are sought; JPEGs in a fraction of their full size."""

    def __init__(self, source: ImageSource, detection: Detection) -> None:
        self._source = source
        self.name = os.fspath(source) if isinstance(source, str | os.PathLike) else "image"
        self.image, self.full = _open(source, max(detection.options.sizes))
        self._largest: Pixels | None = None

    def scale(self) -> Point:
        """Full size by decoded size, in x and y."""
        return self.full[0] / self.image.width, self.full[1] / self.image.height

    def cut(self, face: DetectedFace, geometry: Geometry) -> Pixels:
        assert geometry.detection is not None
        margin = geometry.detection.margin
        x, y = self.scale()
        decoded = _scaled(face, 1 / x, 1 / y)
        side = (1 + 2 * margin) / float(np.hypot(*face_transform(decoded)[:, 0]))  # of the cut, decoded pixels
        if side * _LARGEST_ENLARGEMENT >= geometry.image_size or (x, y) == (1, 1):
            return align(np.asarray(self.image), decoded, geometry.image_size, margin)
        if self._largest is None:
            self._largest = np.asarray(_open(self._source, None)[0])
        return align(self._largest, face, geometry.image_size, margin)


def _find(photograph: _Photograph, detection: Detection) -> FoundFaces:
    pixels = np.asarray(photograph.image)
    faces = _detector(detection.detector, detection.options)(pixels)
    if faces:
        main = main_face(faces, *photograph.image.size)
        faces = [main, *(face for face in faces if face is not main)]
    return FoundFaces(*photograph.full, tuple(_scaled(face, *photograph.scale()) for face in faces))


def _whole(photograph: _Photograph, geometry: Geometry) -> Pixels:
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


def _rereadable(source: ImageSource) -> ImageSource:
    """The content of a file object, which can be read once."""
    return source.read() if hasattr(source, "read") and not isinstance(source, Image.Image) else source


def _open(source: ImageSource, at_least: int | None) -> tuple[Image.Image, tuple[int, int]]:
    """The upright RGB image, and its width and height at full size; `at_least` as in `open_image`."""
    if isinstance(source, np.ndarray | Image.Image):
        image = array_image(source) if isinstance(source, np.ndarray) else upright_rgb(source)
        return image, image.size
    image, header = open_with_header(source, at_least)
    width, height = header.width, header.height  # before it is turned upright
    turned = abs(image.width * width - image.height * height) < abs(image.width * height - image.height * width)
    return image, (height, width) if turned else (width, height)
