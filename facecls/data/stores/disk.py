"""The disk cache of decoded images: memory-mapped; only images that are new or changed are decoded.

A cache folder holds `faces.u8`, the pixels of all images one after the other, and `fingerprints`, the files they were
decoded from. Images are only appended, and `fingerprints` is replaced atomically once their pixels are on disk. So the
pixels without fingerprints that a killed process leaves are overwritten, and the cache can be read while it is written.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from filelock import FileLock

from facecls.data.fingerprints import (
    Fingerprints,
    decoded_cache_folder,
    find_fingerprints,
    fingerprint_files,
    read_fingerprints,
    write_fingerprints,
)
from facecls.data.listing import Paths
from facecls.data.stores.memory import ArrayStore, FaceArray, MainFaces, ReadErrors, decode, face_shape
from facecls.errors import DataError
from facecls.faces.geometry import Geometry
from facecls.files import free_disk
from facecls.text import byte_size, plural

_COMMIT_SECONDS = 30.0  # between writes of the fingerprints: the work that a killed process loses
_HINT = "set `data.cache_dir` to another folder"
_RESERVE = 64e6  # bytes left free on the disk


def read_through_cache(
    paths: Paths,
    geometry: Geometry,
    root: Path,
    cache_dir: Path | None,
    advance: Callable[[int], object],
    found: MainFaces = (),
) -> tuple[ArrayStore, ReadErrors]:
    """Decodes the images that the cache of the data root lacks, and memory-maps all images.

    The pixels of unreadable images are undefined; they are tried again each time. `advance` is called with the number of
    images done. Raises DataError if the cache cannot be written, or its disk has too little space (before writing).
    """
    cache = _Cache(decoded_cache_folder(cache_dir, root, geometry), geometry)
    wanted = fingerprint_files(paths)
    errors: ReadErrors = []
    if lacking := int((find_fingerprints(wanted, cache.fingerprints()) < 0).sum()):
        cache.require_space(lacking)
        with FileLock(cache.folder / ".lock"):
            held = cache.fingerprints()  # again: another process may have added some
            missing = np.flatnonzero(find_fingerprints(wanted, held) < 0)
            advance(len(paths) - len(missing))
            # Closed also after an error or Ctrl-C, so that no image is decoded again.
            with contextlib.closing(_Writer(cache, held, wanted)) as writer:
                errors = decode(paths, geometry, missing.tolist(), writer.save, advance, found)
    else:
        advance(len(paths))
    held = cache.fingerprints()
    return ArrayStore(cache.map(len(held)), find_fingerprints(wanted, held).clip(min=0)), errors


def require_disk_space(paths: Paths, geometry: Geometry, root: Path, cache_dir: Path | None) -> None:
    """Raises DataError, as `read_through_cache` would, if the images that the cache lacks do not fit on its disk."""
    cache = _Cache(decoded_cache_folder(cache_dir, root, geometry), geometry)
    if lacking := int((find_fingerprints(fingerprint_files(paths), cache.fingerprints()) < 0).sum()):
        cache.require_space(lacking)


class _Cache:
    """The two files of a cache folder."""

    def __init__(self, folder: Path, geometry: Geometry) -> None:
        self.folder = folder
        self.faces_file = folder / "faces.u8"
        self.fingerprints_file = folder / "fingerprints"
        self.shape = face_shape(geometry)
        self.face_bytes = int(np.prod(self.shape))

    def fingerprints(self) -> Fingerprints:
        """The fingerprints of the cached images, in order; none if `faces.u8` is too short for them."""
        fingerprints = read_fingerprints(self.fingerprints_file)
        complete = self.faces_file.exists() and self.faces_file.stat().st_size >= len(fingerprints) * self.face_bytes
        return fingerprints if complete else fingerprints[:0]

    def require_space(self, count: int) -> None:
        """Raises DataError if the disk has too little space for `count` more images, or the folder is not writable."""
        if not os.access(self.folder, os.W_OK):
            raise DataError(f"{self.folder}: is not writable", hint=_HINT)
        needed, free = count * self.face_bytes, free_disk(self.folder)
        if needed + _RESERVE > free:
            raise DataError(
                f"{self.folder}: {plural(count, 'image')} need {byte_size(needed)}, "
                f"but only {byte_size(free)} are free on this disk",
                hint=f"{_HINT}, or decode the images in every epoch with `data.store=stream`",
            )

    def map(self, count: int) -> FaceArray:
        """The first `count` images."""
        if count == 0:  # numpy cannot map an empty file
            return np.empty((1, *self.shape), np.uint8)
        return np.memmap(self.faces_file, np.uint8, "r", shape=(count, *self.shape))


class _Writer:
    """Appends images with the fingerprints `wanted` to a cache, which has those with the fingerprints `held`."""

    def __init__(self, cache: _Cache, held: Fingerprints, wanted: Fingerprints) -> None:
        self.cache = cache
        self.wanted = wanted
        self.rows = [held]
        self.count = len(held)
        self.lock = threading.Lock()
        self.committed = time.monotonic()
        for temporary in cache.folder.glob(".fingerprints.*"):  # of a process killed while it wrote them
            temporary.unlink()
        cache.faces_file.touch()
        self.file = cache.faces_file.open("r+b", buffering=0)

    def close(self) -> None:
        try:
            self._commit()
        finally:
            self.file.close()

    def save(self, indices: list[int], faces: FaceArray) -> None:
        with self.lock:
            rest = faces.data.cast("B")
            try:
                self.file.seek(self.count * self.cache.face_bytes)  # after a full disk, the end may be an incomplete image
                while rest:
                    rest = rest[self.file.write(rest) :]
            except OSError as error:
                reason = str(error.strerror).lower()
                raise DataError(f"{self.cache.faces_file}: cannot be written: {reason}", hint=_HINT) from None
            self.rows.append(self.wanted[indices])
            self.count += len(indices)
            if time.monotonic() - self.committed > _COMMIT_SECONDS:
                self._commit()

    def _commit(self) -> None:
        os.fsync(self.file.fileno())
        self.rows = [np.concatenate(self.rows)]
        write_fingerprints(self.cache.fingerprints_file, self.rows[0])
        self.committed = time.monotonic()
