"""One look at each image: its size, light, sharpness and hashes; kept per file, so that a second look costs nothing."""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from facecls.data.duplicates.cache import ImageStatsCache
from facecls.data.stores.worker import available_cores
from facecls.errors import ImageError
from facecls.faces.decode import open_with_header
from facecls.progress import ProgressBar

WORKING_SIDE = 112
"""Pixels: no side is looked at in more, so that light and sharpness are those of the face that a model sees."""

THUMB_SIDE = 32

STATS_DTYPE = np.dtype(
    [
        ("readable", "?"),
        ("format", "S8"),
        ("width", "<i4"),  # of the file, before it is turned upright
        ("height", "<i4"),
        ("bytes", "<i8"),
        ("file_hash", "S32"),  # blake2b of the file, 128 bits, hexadecimal
        ("pixel_hash", "S32"),  # blake2b of its size and decoded pixels
        ("mean", "<f4"),  # of grey, 0..255
        ("spread", "<f4"),  # standard deviation of grey
        ("sharpness", "<f4"),  # see `sharpness`
        ("chroma", "<f4"),  # mean distance of a pixel's largest from its smallest channel, 0..255: 0 for grey
        ("dhash", "u1", 32),  # 256 bits: is a cell of 16 x 16 brighter than its left neighbour?
        ("thumb", "u1", (THUMB_SIDE, THUMB_SIDE)),  # grey
    ]
)
"""What a look tells of an image; all else is zero where it is not readable."""

VERSION = 3
"""To be raised when a look would tell something else of the same file: looks of other versions are not used."""

_ROUNDING = 20 / 12  # variance of the Laplacian of rounding errors: that of one, 1/12, times the squares of its five weights
_CHUNK = 16  # images that one thread looks at before it says so
_BAND = 512  # rows of an image hashed at once
_SAVE_SECONDS = 5.0  # between two writings to the cache: what an interruption can cost


@dataclass(frozen=True)
class ImageStats:
    """What looking at N images has told."""

    table: NDArray[Any]  # (N,) of LOOK
    reasons: dict[int, str]  # why an image cannot be read, by its number

    def __len__(self) -> int:
        return len(self.table)

    def take(self, indices: NDArray[np.int64]) -> "ImageStats":
        """The looks at `indices`, in their order."""
        numbers = {int(old): new for new, old in enumerate(indices)}
        return ImageStats(self.table[indices], {numbers[old]: why for old, why in self.reasons.items() if old in numbers})


def compute_image_stats(paths: Sequence[str], progress: ProgressBar | None = None, cache_dir: Path | None = None) -> ImageStats:
    """Looks at every image, in parallel; at those whose path, size and time of change are in the cache not again.

    What could not be read is not kept: the reason may lie outside the file (a missing right or package), and go away.

    cache_dir: where the cache lies; None for the user's cache folder.
    """
    table = np.zeros(len(paths), STATS_DTYPE)
    reasons: dict[int, str] = {}
    show: ProgressBar = progress or (lambda **_: nullcontext(_Silent()))
    # Other versions of Pillow may decode to other pixels.
    with ImageStatsCache(cache_dir, f"{VERSION}:{STATS_DTYPE.itemsize}:{PIL.__version__}") as cache:
        fingerprints = [_file_state(path) for path in paths]
        for index, record in cache.known(paths, fingerprints):
            table[index] = np.frombuffer(record, STATS_DTYPE)[0]
        known = set(cache.hits)
        new = [index for index in range(len(paths)) if index not in known]

        def measure(chunk: Sequence[int]) -> Sequence[int]:
            for index in chunk:
                why = _measure(paths[index], table[index : index + 1])
                if why:
                    reasons[index] = why
            return chunk

        unsaved: list[int] = []
        saved = time.perf_counter()
        chunks = [new[start : start + _CHUNK] for start in range(0, len(new), _CHUNK)]

        def save() -> None:
            cache.keep((paths[i], fingerprints[i], table[i].tobytes()) for i in unsaved if i not in reasons)
            unsaved.clear()

        with show(total=len(new), desc="looking", unit="image") as bar, ThreadPoolExecutor(available_cores()) as pool:
            try:
                for done in pool.map(measure, chunks):
                    bar.update(len(done))
                    unsaved += done
                    if time.perf_counter() - saved > _SAVE_SECONDS:
                        save()
                        saved = time.perf_counter()
            finally:
                pool.shutdown(cancel_futures=True)
                save()
    return ImageStats(table, reasons)


def _file_state(path: str) -> tuple[int, int]:
    """(size, time of change in ns) by which a changed file is told; (-1, -1) for one that is not there."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a Path for each of a million files is slow
    except (OSError, ValueError):
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _measure(path: str, row: NDArray[Any]) -> str:
    """Fills a (1,) row of LOOK; gives the reason where the image cannot be read, else ""."""
    try:
        image, source = open_with_header(path, at_least=WORKING_SIDE)
        with open(path, "rb") as file:  # noqa: PTH123 -- a Path for each of a million files is slow
            row["file_hash"] = hashlib.file_digest(file, _hash).hexdigest()
            row["bytes"] = file.tell()
    except ImageError as error:
        return error.reason
    except OSError as error:  # it went while it was looked at
        return f"cannot be read: {str(error.strerror).lower()}"
    small = image
    if image.width > WORKING_SIDE or image.height > WORKING_SIDE:
        box = (min(image.width, WORKING_SIDE), min(image.height, WORKING_SIDE))
        small = image.resize(box, Image.Resampling.BILINEAR, reducing_gap=2.0)
    grey = small.convert("L")
    light = np.asarray(grey, np.float32)
    colours = np.asarray(small.resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BOX), np.int16)
    row["readable"] = True
    row["format"], row["width"], row["height"] = source.format, source.width, source.height
    row["pixel_hash"] = _pixel_hash(image)
    row["mean"], row["spread"] = light.mean(), light.std()
    row["sharpness"] = sharpness(light)
    row["chroma"] = (colours.max(axis=2) - colours.min(axis=2)).mean()
    row["dhash"] = difference_hash(grey)
    row["thumb"] = np.asarray(grey.resize((THUMB_SIDE, THUMB_SIDE), Image.Resampling.BILINEAR))
    return ""


def _hash() -> Any:
    return hashlib.blake2b(digest_size=16)


def _pixel_hash(image: Image.Image) -> str:
    """Of an image's size and pixels, read in bands: a copy of all of a large image would double its memory."""
    digest = _hash()
    digest.update(repr(image.size).encode())
    for top in range(0, image.height, _BAND):
        digest.update(image.crop((0, top, image.width, min(top + _BAND, image.height))).tobytes())
    return str(digest.hexdigest())


def difference_hash(grey: Image.Image) -> NDArray[np.uint8]:
    """256 bits as (32,) bytes, row by row: whether each of 16 x 16 cells is brighter than the one to its left.

    The cells are those of the whole image averaged down to 17 x 16, whatever its shape.
    """
    cells = np.asarray(grey.resize((17, 16), Image.Resampling.BOX))
    return np.packbits(cells[:, 1:] > cells[:, :-1])


def sharpness(light: NDArray[np.float32]) -> float:
    """The share of a grey image's (H, W) variance that is in its finest details: the variance of its Laplacian over its own.

    Above 0.05 for sharp photographs; blurring lowers it, noise raises it, light and contrast leave it. 0 for a flat one.
    What rounding to whole levels alone makes is taken off, or images of low contrast would never count as blurred.
    """
    if min(light.shape) < 3 or (variance := float(light.var())) < 1e-3:
        return 0.0
    inner = light[1:-1, 1:-1]
    laplacian = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:] - 4 * inner
    return max(0.0, float(laplacian.var()) - _ROUNDING) / variance


class _Silent:
    def update(self, count: int) -> None:
        """Nobody watches."""
