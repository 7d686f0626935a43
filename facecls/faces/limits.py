"""Limits on the size of an image file, so that decoding it takes little memory and time."""

import os
import struct
from dataclasses import dataclass
from typing import IO

from PIL import ImageFile, JpegImagePlugin

from facecls.errors import ImageError


@dataclass(frozen=True)
class Limit:
    """The largest accepted image of a format: megapixels, and megabytes of the file."""

    megapixels: int
    megabytes: int


LIMITS = {
    "JPEG": Limit(50, 100),
    "PNG": Limit(50, 200),
    "GIF": Limit(50, 100),
    "BMP": Limit(50, 400),
    "PPM": Limit(50, 400),
    "TIFF": Limit(40, 400),
    "WEBP": Limit(24, 32),
    "AVIF": Limit(30, 32),
    "HEIF": Limit(50, 32),
    "JPEG2000": Limit(18, 32),
}
"""With these limits decoding takes less than 512 MB at any time: 4 bytes a pixel, as much again to rotate, and what the
decoder needs (libwebp: two canvases; openjpeg: 32 bits per channel)."""

MEGAPIXELS_OF_SCANS = 40
"""The limit of a JPEG with several scans (progressive): its decoder holds the coefficients of the whole image."""

MEGAPIXELS_BEFORE_DRAFT = 200
"""The limit of a JPEG with one scan that `at_least` shrinks: it is decoded row by row."""

_MAX_TAG_VALUES = 200_000  # of one TIFF tag: a 16-bit palette has 196,608
_STRIPS = (273, 279, 324, 325)  # TIFF tags: offsets and lengths of strips and tiles
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # of TIFF's value types


@dataclass(frozen=True)
class ImageHeader:
    """The format in an image's header, and the size in pixels before rotation and shrinking."""

    format: str
    width: int
    height: int


def check_pixel_limit(path: str, image: ImageFile.ImageFile, header: ImageHeader) -> None:
    """Raises ImageError for too many pixels; called before decoding and after `draft`, so `image` may be smaller."""
    limit = LIMITS[header.format].megapixels
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        if _has_several_scans(image):
            limit = MEGAPIXELS_OF_SCANS
        elif image.width * image.height <= limit * 1e6:
            limit = MEGAPIXELS_BEFORE_DRAFT
    if header.width * header.height > limit * 1e6:
        raise ImageError(path, f"claims {header.width} x {header.height} pixels, more than {limit} million")


def _has_several_scans(image: JpegImagePlugin.JpegImageFile) -> bool:
    """Whether the decoder holds the coefficients of the whole image, even for a smaller output size."""
    if "progressive" in image.info or image.layers == 4:
        return True
    assert image.fp is not None
    # The file position is behind the header of the first scan: that has all components if it is the only one
    length = 6 + 2 * image.layers
    image.fp.seek(-length, os.SEEK_CUR)
    return image.fp.read(3) != struct.pack(">HB", length, image.layers)


def check_tiff_tags(path: str, stream: IO[bytes], size: int) -> None:
    """Raises ImageError for a TIFF tag with more values than any valid image has.

    Pillow creates an object for each value: a file of 80 MB would take gigabytes and minutes.
    """
    start = stream.read(16)
    order, big = "<" if start.startswith(b"II") else ">", start[2:3] == b"+"  # BigTIFF, by the same byte as Pillow
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)
    stream.seek(offset)
    (entries,) = struct.unpack(order + ("Q" if big else "H"), stream.read(8 if big else 2))
    layout = struct.Struct(order + ("HHQ8x" if big else "HHI4x"))
    for _ in range(entries):
        entry = stream.read(layout.size)
        if len(entry) < layout.size:
            return
        tag, type_, count = layout.unpack(entry)
        # Pillow skips unknown types and truncated values, and does not split bytes and text
        read = type_ in _TYPE_BYTES and count * _TYPE_BYTES[type_] <= size and (type_ not in (1, 2, 7) or tag in _STRIPS)
        if read and count > _MAX_TAG_VALUES:
            raise ImageError(path, f"is damaged: {count} values in TIFF tag {tag}")
