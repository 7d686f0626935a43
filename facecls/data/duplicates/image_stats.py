"""Image statistics: size, brightness, sharpness and hashes of each image, cached by file."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import Image

from facecls.data.record_cache import RecordCache, compute_records
from facecls.errors import ImageError
from facecls.faces.decode import open_with_header
from facecls.progress import ProgressBar, no_progress

WORKING_SIDE = 112
"""Pixels: larger images are reduced to it, so that brightness and sharpness are measured at the size of a model's input."""

THUMB_SIDE = 32

STATS_DTYPE = np.dtype(
    [
        ("readable", "?"),
        ("format", "S8"),
        ("width", "<i4"),  # of the file, before rotation by its EXIF orientation
        ("height", "<i4"),
        ("bytes", "<i8"),
        ("file_hash", "S32"),  # 128-bit blake2b of the file, hexadecimal
        ("pixel_hash", "S32"),  # of the size and the decoded pixels
        ("mean", "<f4"),  # of grey, 0..255
        ("spread", "<f4"),  # standard deviation of grey
        ("sharpness", "<f4"),  # see `sharpness`
        ("chroma", "<f4"),  # mean difference of a pixel's largest and smallest channel, 0..255: 0 for grey
        ("dhash", "u1", 32),  # see `difference_hash`
        ("thumb", "u1", (THUMB_SIDE, THUMB_SIDE)),  # grey
    ]
)
"""The statistics of an image; zero if it is not readable."""

VERSION = 3
"""Increment it if a change of the code changes the statistics of a file: cached ones of other versions are not used."""

_ROUNDING = 20 / 12  # variance of the Laplacian of rounding errors: 1/12 times the sum of its five squared weights
_BAND = 512  # rows hashed at a time


@dataclass(frozen=True)
class ImageStats:
    """The statistics of N images."""

    table: NDArray[Any]  # (N,) of STATS_DTYPE
    reasons: dict[int, str]  # why an image cannot be read, by index

    def __len__(self) -> int:
        return len(self.table)


def compute_image_stats(
    paths: Sequence[str], progress_bar: ProgressBar | None = None, cache_dir: Path | None = None
) -> ImageStats:
    """Computes the statistics of all images in parallel; those of unchanged files come from the cache in `cache_dir`.

    Unreadable images are not cached: the cause may lie outside the file (permissions, a missing package).
    """
    table = np.zeros(len(paths), STATS_DTYPE)
    reasons: dict[int, str] = {}
    # Each version of Pillow has its own records, as it may decode to other pixels.
    with RecordCache(cache_dir, "image_stats", f"{VERSION}:{STATS_DTYPE.itemsize}:{PIL.__version__}") as cache:
        bar_of = progress_bar or no_progress
        with bar_of(total=len(paths), desc="measuring", unit="image") as bar:
            for index, record in compute_records(paths, _measured, cache, bar.update):
                if isinstance(record, ImageError):
                    reasons[index] = record.reason
                else:
                    table[index] = np.frombuffer(record, STATS_DTYPE)[0]
    return ImageStats(table, reasons)


def _measured(path: str) -> bytes:
    """The statistics of an image, (1,) of STATS_DTYPE, as bytes; raises ImageError if it cannot be read."""
    row = np.zeros(1, STATS_DTYPE)
    image, source = open_with_header(path, at_least=WORKING_SIDE)
    try:
        with open(path, "rb") as file:  # noqa: PTH123 -- a Path is slow for millions of names
            row["file_hash"] = hashlib.file_digest(file, _hash).hexdigest()
            row["bytes"] = file.tell()
    except OSError as error:  # deleted since it was decoded
        raise ImageError(path, f"cannot be read: {str(error.strerror).lower()}") from error
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
    return row.tobytes()


def _hash() -> Any:
    return hashlib.blake2b(digest_size=16)


def _pixel_hash(image: Image.Image) -> str:
    """The hash of size and pixels; in bands, as a copy of a large image would double its memory."""
    digest = _hash()
    digest.update(repr(image.size).encode())
    for top in range(0, image.height, _BAND):
        digest.update(image.crop((0, top, image.width, min(top + _BAND, image.height))).tobytes())
    return str(digest.hexdigest())


def difference_hash(grey: Image.Image) -> NDArray[np.uint8]:
    """The difference hash (dHash): 256 bits as (32,) bytes, by row: whether a pixel is brighter than its left neighbour.

    The pixels are those of the image reduced to 17 x 16 by averaging.
    """
    reduced = np.asarray(grey.resize((17, 16), Image.Resampling.BOX))
    return np.packbits(reduced[:, 1:] > reduced[:, :-1])


def sharpness(light: NDArray[np.float32]) -> float:
    """The variance of the Laplacian of a grey image (H, W) in 0..255, divided by the variance of the image; 0 if that is ~0.

    Above 0.05 for sharp photographs; blur lowers it, noise raises it; brightness and contrast do not change it. The
    variance that rounding to integers causes is subtracted, as it would hide the blur of low-contrast images.
    """
    if min(light.shape) < 3 or (variance := float(light.var())) < 1e-3:
        return 0.0
    inner = light[1:-1, 1:-1]
    laplacian = light[:-2, 1:-1] + light[2:, 1:-1] + light[1:-1, :-2] + light[1:-1, 2:] - 4 * inner
    return max(0.0, float(laplacian.var()) - _ROUNDING) / variance
