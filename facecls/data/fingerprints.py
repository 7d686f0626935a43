"""File fingerprints (path, size, modification time): keys of the cache of decoded images."""

import hashlib
import os
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from facecls.data.detections import detection_key
from facecls.data.listing import Indices, Paths
from facecls.errors import DataError
from facecls.faces.geometry import Geometry
from facecls.files import cache_folder, file_state, write_atomic
from facecls.run import hash_of

Fingerprints = NDArray[np.uint64]  # (N, 2): 128 bits per file

_FORMAT = 1  # of the files in a cache folder


def decoded_cache_folder(cache_dir: Path | None, root: Path, geometry: Geometry) -> Path:
    """Creates and returns the cache folder for the images of a data root, decoded with one geometry.

    Each version of Pillow has its own folder, as it may decode to other pixels, and so has each detector.
    Raises DataError if it cannot be created.
    """
    root = root.absolute()
    found_by = "" if geometry.detection is None else detection_key(geometry.detection)
    key = hash_of([str(root), repr(geometry), found_by, PIL.__version__, str(_FORMAT)])
    folder = cache_folder(cache_dir) / "faces" / f"{root.name[:40]}-{geometry.image_size}-{key[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be created: {str(error.strerror).lower()}", hint="set `data.cache_dir` to another folder"
        ) from None
    return folder


def fingerprint_files(paths: Paths) -> Fingerprints:
    """The fingerprints of files as they are now, (N, 2); a missing file has one, too."""
    digests = bytearray()
    here = os.fsencode(Path.cwd())
    for path in map(os.fsencode, paths):
        absolute = os.path.join(here, path)  # noqa: PTH118 -- a Path is slow for millions of names
        digests += hashlib.blake2b(b"%d %d %b" % (*file_state(path), absolute), digest_size=16).digest()
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def read_fingerprints(path: Path) -> Fingerprints:
    """Reads a file of `write_fingerprints`; (0, 2) if it is missing."""
    content = path.read_bytes() if path.exists() else b""
    return np.frombuffer(content[: len(content) // 16 * 16], np.uint64).reshape(-1, 2)


def write_fingerprints(path: Path, fingerprints: Fingerprints) -> None:
    """Writes the file atomically. Raises RunError if it cannot be written."""
    write_atomic(path, fingerprints.tobytes())


def find_fingerprints(wanted: Fingerprints, held: Fingerprints) -> Indices:
    """The row in `held` of each of `wanted`, (N,); -1 if there is none."""
    order = np.argsort(held[:, 0], kind="stable")
    if len(order) == 0:
        return np.full(len(wanted), -1)
    rows = order[np.searchsorted(held[:, 0], wanted[:, 0], sorter=order).clip(max=len(order) - 1)]
    return np.where((held[rows] == wanted).all(axis=1), rows, -1)
