"""Finds faces and their landmarks in images. To add a detector, write its builder and add a line to DETECTORS.

OpenCV's number of threads is process-wide, and the detectors leave it as it is: with one image at a time its threads help
only in large images, and of several images at a time one uses them.
"""

import difflib
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from facecls.errors import InstallError, ModelError
from facecls.text import name_list
from facecls.weights import WEIGHTS, read_weights

Pixels: TypeAlias = npt.NDArray[np.uint8]
Point: TypeAlias = tuple[float, float]


@dataclass(frozen=True)
class DetectedFace:
    """A face in pixels of the upright image at full size, whose first pixel covers [0, 1) x [0, 1).

    box: x, y, width and height; clipped to the image, so that of a face cut by the border it is the visible part.
    landmarks: (5, 2), x and y of the eyes, the nose tip and the mouth corners; of both eyes and both corners first the one
        that is on the left in an upright image. Not clipped: of a face cut by the border some are outside.
    score: confidence of the detector, 0 to 1.
    """

    box: tuple[float, float, float, float]
    landmarks: tuple[Point, Point, Point, Point, Point]
    score: float


@dataclass(frozen=True)
class DetectorOptions:
    """How faces are sought; checkpoints store it as `dataclasses.asdict` returns it.

    min_score: faces with a lower score are dropped, in (0, 1).
    sizes: longest sides of the copies that are searched, pixels. Larger images are shrunk to each, smaller ones not enlarged.
        An image longer than 4:1 is shrunk to as many pixels as one of 4:1, which leaves its faces larger.
    retry: where no face was found, search copies with a border, in which faces that fill the image are found, and copies with
        equalised contrast, for badly lit faces.
    weights: path of another weight file than that of the installed package.
    """

    min_score: float = 0.6
    sizes: tuple[int, ...] = (640, 1280)
    retry: bool = True
    weights: str | None = None

    def __post_init__(self) -> None:
        assert 0 < self.min_score < 1 and self.sizes and min(self.sizes) >= 1, self


Detector = Callable[[Pixels], list[DetectedFace]]
"""From an upright RGB image, uint8 (H, W, 3), to its faces, those with the largest box first. Can be called in any thread."""

Builder = Callable[[DetectorOptions], Detector]


def build_detector(name: str, options: DetectorOptions | None = None) -> Detector:
    """A detector of the registry, with default options or those given.

    Raises ModelError for an unknown name or weights that cannot be read, InstallError if OpenCV or the package with the
    weights is missing.
    """
    if name not in DETECTORS:
        near = difflib.get_close_matches(name.lower(), DETECTORS, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"the detectors are {name_list(DETECTORS)}"
        raise ModelError(f"`{name}` is not a face detector", hint=hint)
    return DETECTORS[name](options or DetectorOptions())


def main_face(faces: Sequence[DetectedFace], width: int, height: int) -> DetectedFace:
    """The face that an image of `width` x `height` pixels shows: the largest, of about equally large ones the most central."""
    assert faces
    largest = max(_area(face) for face in faces)
    candidates = [face for face in faces if _area(face) >= _AS_LARGE * largest]
    return min(candidates, key=lambda face: math.dist(_centre(face), (width / 2, height / 2)))


_AS_LARGE = 0.8  # share of the largest area from which a face counts as equally large


def _area(face: DetectedFace) -> float:
    return face.box[2] * face.box[3]


def _centre(face: DetectedFace) -> Point:
    left, top, width, height = face.box
    return left + width / 2, top + height / 2


def require_opencv() -> ModuleType:
    """Imports OpenCV; raises InstallError if it is missing."""
    try:
        import cv2
    except ImportError as error:
        raise InstallError(
            f"finding faces needs OpenCV, which cannot be imported: {error}",
            hint="install it with `pip install 'facecls[faces]'`",
        ) from error
    return cv2


Rows: TypeAlias = npt.NDArray[np.float64]
"""(N, 15), as OpenCV returns faces: x, y, width, height, x and y of each landmark, score."""

_NO_ROWS: Rows = np.empty((0, 15))
_X, _Y = [0, 4, 6, 8, 10, 12], [1, 5, 7, 9, 11, 13]

_MOST_BOXES = 50_000  # before they are merged; about nine are of one face
_LEAST_SIDE = 64  # with a side of up to 32 pixels OpenCV returns infinite boxes with a score of 1
_BORDER = 0.4  # of the longest side, on each side
_RETRY_SIZES = (320, 160)

# Two boxes are of one face if they share this much of their union, or of the smaller one: parts of a large face look like
# faces, too.
_SAME_IOU = 0.3
_SAME_INSIDE = 0.6
_AVERAGED_IOU = 0.6


class YuNet:
    """YuNet (2023mar) in OpenCV, with one network a thread, because a network is not thread-safe."""

    def __init__(self, options: DetectorOptions) -> None:
        self.options = options
        self._cv2: Any = require_opencv()
        self._weights = np.frombuffer(read_weights("yunet", options.weights), dtype=np.uint8)
        self._thread = threading.local()
        try:
            self._run(np.zeros((_LEAST_SIDE, _LEAST_SIDE, 3), dtype=np.uint8))
        except self._cv2.error as error:
            raise ModelError(
                f"{options.weights or WEIGHTS['yunet'].name}: OpenCV cannot run these weights as YuNet: {error.err}",
                hint=f"take those of {WEIGHTS['yunet'].source}",
            ) from error

    def __call__(self, image: Pixels) -> list[DetectedFace]:
        assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size, image.shape
        found = next((rows for rows in self._attempts(image) if len(rows)), _NO_ROWS)
        return sorted(map(_face, found.tolist()), key=_area, reverse=True)

    def _attempts(self, image: Pixels) -> Iterator[Rows]:
        """The faces found in one way after the other, of which the first that finds any counts."""
        height, width = image.shape[:2]
        copies = self._copies(image)
        yield self._search(copies, 0, width, height)
        if self.options.retry:
            yield self._search(self._small_copies(copies[-1]), _BORDER, width, height)
            copies = [self._equalised(copy) for copy in copies]
            yield self._search(copies, 0, width, height)
            yield self._search(self._small_copies(copies[-1]), _BORDER, width, height)

    def _copies(self, image: Pixels) -> list[Pixels]:
        """The image in BGR at each of the sizes, the largest first."""
        height, width = image.shape[:2]
        elongation = min(max(1.0, math.sqrt(max(width / height, height / width)) / 2), 4.0)
        copy = np.ascontiguousarray(image)
        copies: list[Pixels] = []
        for size in sorted(self.options.sizes, reverse=True):
            scale = min(1.0, size * elongation / max(width, height))
            shape = max(1, round(width * scale)), max(1, round(height * scale))
            if not copies or shape != (copy.shape[1], copy.shape[0]):
                copy = self._cv2.resize(copy, shape, interpolation=self._cv2.INTER_AREA)
                copies.append(self._cv2.cvtColor(copy, self._cv2.COLOR_RGB2BGR))
        return copies

    def _small_copies(self, copy: Pixels) -> list[Pixels]:
        """The image at the sizes of the retry; smaller images are enlarged."""
        height, width = copy.shape[:2]
        scales = [size / max(width, height) for size in _RETRY_SIZES]
        return [
            self._cv2.resize(
                copy,
                (max(1, round(width * scale)), max(1, round(height * scale))),
                interpolation=self._cv2.INTER_AREA if scale < 1 else self._cv2.INTER_LINEAR,
            )
            for scale in scales
        ]

    def _equalised(self, copy: Pixels) -> Pixels:
        """The copy with its luma equalised in tiles of a quarter of each side, contrast limited (CLAHE)."""
        colours = self._cv2.cvtColor(copy, self._cv2.COLOR_BGR2YCrCb)
        colours[..., 0] = self._cv2.createCLAHE(4.0, (4, 4)).apply(colours[..., 0])
        equalised: Pixels = self._cv2.cvtColor(colours, self._cv2.COLOR_YCrCb2BGR)
        return equalised

    def _search(self, copies: Sequence[Pixels], border: float, width: int, height: int) -> Rows:
        """The faces in all copies, each face once, in pixels of the image of `width` x `height`."""
        return _merged(np.concatenate([self._search_copy(copy, border, width, height) for copy in copies]))

    def _search_copy(self, copy: Pixels, border: float, width: int, height: int) -> Rows:
        rows_of, columns_of = copy.shape[:2]
        around = round(border * max(rows_of, columns_of))
        more = max(0, _LEAST_SIDE - rows_of), max(0, _LEAST_SIDE - columns_of)
        padded = self._cv2.copyMakeBorder(
            copy, around, around + more[0], around, around + more[1], self._cv2.BORDER_CONSTANT, value=(0, 0, 0)
        )
        rows = self._run(padded)
        rows = rows[np.isfinite(rows).all(axis=1)]
        rows[:, _X] = (rows[:, _X] - around) * (width / columns_of)
        rows[:, _Y] = (rows[:, _Y] - around) * (height / rows_of)
        rows[:, 2] *= width / columns_of
        rows[:, 3] *= height / rows_of
        ends = np.clip(rows[:, :2] + rows[:, 2:4], 0, (width, height))
        rows[:, :2] = np.clip(rows[:, :2], 0, (width, height))
        rows[:, 2:4] = ends - rows[:, :2]
        return rows[(rows[:, 2:4] > 0).all(axis=1)]

    def _run(self, image: Pixels) -> Rows:
        """The network's faces in a BGR image, in its pixels."""
        if not hasattr(self._thread, "network"):
            self._thread.network = self._cv2.FaceDetectorYN.create(
                "onnx", self._weights, np.empty(0, dtype=np.uint8), (0, 0), self.options.min_score, 1.0, _MOST_BOXES
            )
        self._thread.network.setInputSize((image.shape[1], image.shape[0]))
        faces = self._thread.network.detect(image)[1]
        return _NO_ROWS if faces is None else faces.astype(np.float64)


def _merged(rows: Rows) -> Rows:
    """One row for each face: non-maximum suppression, with box and landmarks averaged over what is suppressed.

    Averaging them, weighted by score, makes landmarks a fifth more steady than those of the highest score.
    """
    merged = []
    rows = rows[np.argsort(-rows[:, 14], kind="stable")]
    while len(rows):
        starts, ends, areas = rows[:, :2], rows[:, :2] + rows[:, 2:4], rows[:, 2] * rows[:, 3]
        shared = np.maximum(np.minimum(ends, ends[0]) - np.maximum(starts, starts[0]), 0).prod(axis=1)
        iou = shared / (areas + areas[0] - shared)
        near = rows[iou > _AVERAGED_IOU]
        merged.append(np.append(np.average(near[:, :14], axis=0, weights=near[:, 14]), rows[0, 14]))
        rows = rows[(iou <= _SAME_IOU) & (shared <= _SAME_INSIDE * np.minimum(areas, areas[0]))]
    return np.array(merged).reshape(-1, 15)


def _face(row: Sequence[float]) -> DetectedFace:
    x, y, width, height, *landmarks, score = row
    right_eye, left_eye, nose, right_mouth, left_mouth = zip(landmarks[::2], landmarks[1::2], strict=True)
    return DetectedFace((x, y, width, height), (right_eye, left_eye, nose, right_mouth, left_mouth), score)


DETECTORS: dict[str, Builder] = {
    "yunet": YuNet,
}
