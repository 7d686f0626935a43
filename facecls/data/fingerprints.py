"""Which files a cache holds: by path, size and time of change, so that a changed file is another file."""

import hashlib
import os
from pathlib import Path

import numpy as np
import PIL
from numpy.typing import NDArray

from facecls.data.listing import Indices, Paths
from facecls.errors import DataError
from facecls.faces.geometry import Geometry
from facecls.files import cache_folder, write_atomic
from facecls.run import hash_of

Fingerprints = NDArray[np.uint64]  # (N, 2): 128 bits for each file

_FORMAT = 1  # of what lies in a cache's folder


def folder_for(cache_dir: Path | None, root: Path, geometry: Geometry) -> Path:
    """The folder in which the faces of a data root, of one geometry, are kept; it is made if need be.

    Other versions of Pillow may decode to other pixels, so each has its own. Raises DataError where it cannot be made.
    """
    above = cache_folder(cache_dir)
    where = root.absolute()
    name = hash_of([str(where), repr(geometry), PIL.__version__, str(_FORMAT)])
    folder = above / "faces" / f"{where.name[:40]}-{geometry.image_size}-{name[:16]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"{folder}: cannot be made: {str(error.strerror).lower()}", hint="name another place with data.cache_dir"
        ) from None
    return folder


def fingerprints_of(paths: Paths) -> Fingerprints:
    """The stamps of files as they are now; a file that is not there has one, too."""
    digests = bytearray()
    here = os.fsencode(Path.cwd())
    for path in map(os.fsencode, paths):
        try:
            status = os.stat(path)  # noqa: PTH116 -- millions of times
            size, changed = status.st_size, status.st_mtime_ns
        except (OSError, ValueError):
            size, changed = -1, -1
        whole = os.path.join(here, path)  # noqa: PTH118
        digests += hashlib.blake2b(b"%d %d %b" % (size, changed, whole), digest_size=16).digest()
    return np.frombuffer(digests, np.uint64).reshape(-1, 2)


def read_fingerprints(path: Path) -> Fingerprints:
    """What `write_stamps` wrote; none where there is no such file, or not a whole one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    return np.frombuffer(content[: len(content) // 16 * 16], np.uint64).reshape(-1, 2)


def write_fingerprints(path: Path, fingerprints: Fingerprints) -> None:
    """Writes beside, then renames. Raises RunError where that cannot be."""
    write_atomic(path, fingerprints.tobytes())


def find(wanted: Fingerprints, held: Fingerprints) -> Indices:
    """Where in `held` each of `wanted` stands, (N,); -1 where it does not."""
    order = np.argsort(held[:, 0], kind="stable")
    if len(order) == 0:
        return np.full(len(wanted), -1)
    places = order[np.searchsorted(held[:, 0], wanted[:, 0], sorter=order).clip(max=len(order) - 1)]
    return np.where((held[places] == wanted).all(axis=1), places, -1)
