"""Finds the faces in many images, in parallel; what is found is cached by file."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from facecls.data.listing import Paths
from facecls.data.record_cache import RecordCache, compute_records
from facecls.errors import ImageError
from facecls.faces.detect import DetectedFace, build_detector, require_opencv
from facecls.faces.geometry import Detection
from facecls.faces.photograph import FoundFaces, find_faces
from facecls.progress import ProgressBar
from facecls.run import hash_of
from facecls.text import plural
from facecls.weights import read_weights

VERSION = 2
"""Increment it if a change of the code changes what is found: cached results of other versions are not used."""

DOUBTFUL = 0.8
"""Score below which a face is listed: none of the main faces in LFW, one in twelve in images of people with masks."""

_SIZES = struct.Struct("<3i")  # width, height and turn; 15 float64 for each face follow


@dataclass(frozen=True)
class Detections:
    """What was found in N images; None for an image that cannot be read."""

    found: tuple[FoundFaces | None, ...]

    def main_faces(self) -> list[DetectedFace | None]:
        """The face of each image that is trained on and evaluated; None without one."""
        return [each.faces[0] if each is not None and each.faces else None for each in self.found]

    def counts(self) -> NDArray[np.int64]:
        """The number of faces in each image; -1 for images that cannot be read."""
        return np.array([-1 if each is None else len(each.faces) for each in self.found], np.int64)

    def one_several_none(self) -> tuple[int, int, int]:
        """The numbers of images with one face, with several, and without one."""
        counts = self.counts()
        return int((counts == 1).sum()), int((counts > 1).sum()), int((counts == 0).sum())

    def turned(self) -> int:
        """The number of images whose faces seem sideways or inverted."""
        return sum(each is not None and each.turn > 0 for each in self.found)

    def coverage(self, name: str) -> str:
        """For the user: how many images of the split `name` have how many faces."""
        one, several, none = self.one_several_none()
        doubtful = sum(face is not None and face.score < DOUBTFUL for face in self.main_faces())
        return (
            f"{name}: one face in {plural(one, 'image')}, several in {several:,} (the largest is used), none in {none:,}; "
            f"a score below {DOUBTFUL:g} in {doubtful:,}, faces that seem sideways or inverted in {self.turned():,}"
        )


def detect_all(
    paths: Paths | Sequence[str], detection: Detection, progress_bar: ProgressBar, desc: str, cache_dir: Path | None = None
) -> Detections:
    """Finds the faces in images; unchanged files that were searched before are not searched again.

    Raises InstallError and ModelError as `build_detector` does.
    """
    build_detector(detection.detector, detection.options)  # its errors at once, once
    found: list[FoundFaces | None] = [None] * len(paths)
    key = detection_key(detection)
    with (
        RecordCache(cache_dir, f"detections-{key[:16]}", key) as cache,
        progress_bar(total=len(paths), desc=desc, unit="image") as bar,
    ):

        def search(path: str) -> bytes:
            return _to_record(find_faces(path, detection))

        for index, record in compute_records(paths, search, cache, bar.update, slow=True):
            found[index] = None if isinstance(record, ImageError) else _from_record(record)
    return Detections(tuple(found))


def detection_key(detection: Detection) -> str:
    """A hash of all that determines what is found in an image."""
    options = detection.options
    weights = read_weights(detection.detector, options.weights)
    sought = repr((options.min_score, options.sizes, options.retry))
    return hash_of([str(VERSION), require_opencv().__version__, detection.detector, sought, weights.hex()])


def _to_record(found: FoundFaces) -> bytes:
    rows = [(*face.box, *(value for point in face.landmarks for value in point), face.score) for face in found.faces]
    return _SIZES.pack(found.width, found.height, found.turn) + np.array(rows, "<f8").tobytes()


def _from_record(record: bytes) -> FoundFaces:
    rows: Any = np.frombuffer(record, "<f8", offset=_SIZES.size).reshape(-1, 15).tolist()
    faces = []
    for row in rows:
        points: Any = tuple(zip(row[4:14:2], row[5:14:2], strict=True))
        faces.append(DetectedFace(tuple(row[:4]), points, row[14]))
    width, height, turn = _SIZES.unpack_from(record)
    return FoundFaces(width, height, tuple(faces), turn)
