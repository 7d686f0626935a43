"""Decode once: all faces of a part as one uint8 array, from which every epoch draws."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from facecls.errors import DataError, ImageError
from facecls.faces.geometry import Geometry, read_face

Faces = NDArray[np.uint8]  # (N, S, S, 3)

_CHUNK = 16  # pictures that one thread reads before it says so
_LISTED = 20  # bad pictures named in an error before the rest are only counted


class Store(Protocol):
    """Faces by number."""

    def __len__(self) -> int: ...

    def __getitem__(self, indices: NDArray[np.int64]) -> Faces:
        """Uint8 (B, S, S, 3) of the faces at `indices` (B,)."""


class MemoryStore:
    """All faces in one array in memory."""

    def __init__(self, faces: Faces) -> None:
        self.faces = faces

    def __len__(self) -> int:
        return len(self.faces)

    def __getitem__(self, indices: NDArray[np.int64]) -> Faces:
        return np.take(self.faces, indices, axis=0)


def decode(
    paths: Sequence[str], geometry: Geometry, advance: Callable[[int], object] = lambda _: None
) -> tuple[Faces, list[tuple[int, ImageError]]]:
    """Reads all pictures in parallel, into uint8 (N, S, S, 3), and says which could not be read (their faces are undefined).

    Pillow lets go of Python's lock while it decodes, so threads are enough. `advance` is told how many are done.
    """
    side = geometry.image_size
    faces = np.empty((len(paths), side, side, 3), np.uint8)
    bad: list[tuple[int, ImageError]] = []

    def read(start: int) -> int:
        chunk = range(start, min(start + _CHUNK, len(paths)))
        for index in chunk:
            try:
                faces[index] = read_face(paths[index], geometry)
            except ImageError as error:
                bad.append((index, error))
        return len(chunk)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in pool.map(read, range(0, len(paths), _CHUNK)):
            advance(done)
    return faces, sorted(bad, key=lambda pair: pair[0])


def refuse_bad(bad: Sequence[ImageError]) -> None:
    """Raises one DataError that lists the pictures that cannot be read, if there are any."""
    if bad:
        more = [f"and {len(bad) - _LISTED} more that cannot be read"] if len(bad) > _LISTED else []
        raise DataError(
            *(str(error) for error in bad[:_LISTED]),
            *more,
            hint="mend or remove them, or train without them: --set data.on_bad_image=skip",
        )
