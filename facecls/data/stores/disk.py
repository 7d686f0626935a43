"""Faces on disk: decoded once, mapped into memory by every later run, and only what has changed is decoded again.

A cache's folder holds `faces.u8`, the faces one after the other, and `stamps`, which files they are of. Faces are only
ever added behind the others, and `stamps` is replaced (written beside, renamed) after what it speaks of is on disk: a
build that is killed leaves faces that nobody knows of, which the next one writes over, and whoever reads while another
process adds goes on reading what was there.
"""

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from facecls.data.fingerprints import Fingerprints, find, fingerprints_of, folder_for, read_fingerprints, write_fingerprints
from facecls.data.listing import Paths
from facecls.data.stores.memory import ArrayStore, Bad, Faces, decode, shape_of
from facecls.errors import DataError
from facecls.faces.geometry import Geometry

_SECONDS = 30.0  # between two writings of the stamps: what a killed build can cost
_ELSEWHERE = "name another place with data.cache_dir"
_SPARE = 64e6  # bytes that are to stay free on the disk


def on_disk(
    paths: Paths, geometry: Geometry, root: Path, cache_dir: Path | None, advance: Callable[[int], object]
) -> tuple[ArrayStore, Bad]:
    """Maps the faces of all images from the cache of the data root, after decoding those that it lacks.

    Images that cannot be read have undefined faces and stand in the list; they are tried again each time.

    Raises DataError where the cache cannot be written or its disk has too little room, before anything is written.
    """
    cache = _Cache(folder_for(cache_dir, root, geometry), geometry)
    wanted = fingerprints_of(paths)
    bad: Bad = []
    if (find(wanted, cache.fingerprints()) < 0).any():
        if not os.access(cache.folder, os.W_OK):
            raise DataError(f"{cache.folder}: cannot be written to", hint=_ELSEWHERE)
        with FileLock(cache.folder / ".lock"):
            held = cache.fingerprints()  # another process may have added some meanwhile
            missing = np.flatnonzero(find(wanted, held) < 0)
            advance(len(paths) - len(missing))
            with _Writer(cache, held, wanted, len(missing)) as writer:
                bad = decode(paths, geometry, missing.tolist(), writer.put, advance)
    else:
        advance(len(paths))
    held = cache.fingerprints()
    return ArrayStore(cache.map(len(held)), find(wanted, held).clip(min=0)), bad


class _Cache:
    """The two files of a cache's folder."""

    def __init__(self, folder: Path, geometry: Geometry) -> None:
        self.folder = folder
        self.faces = folder / "faces.u8"
        self.shape = shape_of(geometry)
        self.face_bytes = int(np.prod(self.shape))

    def fingerprints(self) -> Fingerprints:
        """Which files the faces are of, in their order; none where faces are missing that there should be."""
        fingerprints = read_fingerprints(self.folder / "stamps")
        whole = self.faces.exists() and self.faces.stat().st_size >= len(fingerprints) * self.face_bytes
        return fingerprints if whole else fingerprints[:0]

    def map(self, count: int) -> Faces:
        """The first `count` faces."""
        if count == 0:  # which numpy cannot map
            return np.empty((1, *self.shape), np.uint8)
        return np.memmap(self.faces, np.uint8, "r", shape=(count, *self.shape))


class _Writer:
    """Adds faces to a cache behind those that it holds."""

    def __init__(self, cache: _Cache, held: Fingerprints, wanted: Fingerprints, count: int) -> None:
        self.cache = cache
        self.wanted = wanted
        self.rows = [held]
        self.count = len(held)
        self.lock = threading.Lock()
        self.written = time.monotonic()
        needed, free = count * cache.face_bytes, shutil.disk_usage(cache.folder).free
        if needed + _SPARE > free:
            raise DataError(
                f"{cache.folder}: {count} faces take {needed / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free on this disk",
                hint=f"{_ELSEWHERE}, or decode anew in every epoch with data.store=stream",
            )
        for left in cache.folder.glob(".stamps.*"):  # by a process that was killed while it renamed
            left.unlink()
        cache.faces.touch()
        self.file = cache.faces.open("r+b", buffering=0)

    def __enter__(self) -> "_Writer":
        return self

    def __exit__(self, *_: object) -> None:
        # Also after an error or Ctrl-C: what has been decoded is not decoded again.
        try:
            self._commit()
        finally:
            self.file.close()

    def put(self, numbers: list[int], faces: Faces) -> None:
        with self.lock:
            left = faces.data.cast("B")
            try:
                self.file.seek(self.count * self.cache.face_bytes)  # a face before may have been cut short by a full disk
                while left:
                    left = left[self.file.write(left) :]
            except OSError as error:
                raise DataError(
                    f"{self.cache.faces}: cannot be written: {str(error.strerror).lower()}",
                    hint=_ELSEWHERE,
                ) from None
            self.rows.append(self.wanted[numbers])
            self.count += len(numbers)
            if time.monotonic() - self.written > _SECONDS:
                self._commit()

    def _commit(self) -> None:
        os.fsync(self.file.fileno())
        self.rows = [np.concatenate(self.rows)]
        write_fingerprints(self.cache.folder / "stamps", self.rows[0])
        self.written = time.monotonic()
