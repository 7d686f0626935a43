"""Open any photograph safely: EXIF turned, RGB, size-limited, or a named reason why not.

Every image is decoded by one of the readers below, called directly and not through `Image.open`: that never tries
the formats that start other programs (EPS), says what is wrong where `Image.open` only says "cannot identify", and
keeps Pillow's own check for decompression bombs (a process-wide number, a warning, an error without the size) out
of the way of ours.
"""

import errno
import functools
import importlib
import os
import stat
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import IO

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    ExifTags,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from facecls.errors import ImageError
from facecls.faces.colour import to_rgb

SUFFIXES = frozenset(
    """
    .jpg .jpeg .jpe .jfif .png .apng .gif .bmp .webp .tif .tiff .ppm .pgm .pbm .pnm .pfm .avif .heic .heif
    .jp2 .j2k .j2c .jpc .jpf .jpx
    """.split()  # noqa: SIM905  so many quoted words are not easier to read
)
"""Lower-case suffixes, with their dot, that count as images. What a file is is told by its first bytes alone."""


@dataclass(frozen=True)
class Limit:
    """The largest image of a format that is read: pixels, in millions, and the file's megabytes."""

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
"""With these no image takes 512 MB at any moment. They differ with what the readers need beside the image itself
(4 bytes a pixel, and as much again to turn it): libwebp two canvases, openjpeg a number of 32 bits for each colour."""

MEGAPIXELS_IN_SCANS = 40
"""The limit of a JPEG in several scans (progressive): the coefficients of all of it are held while it is decoded."""

MEGAPIXELS_BEFORE_SHRINKING = 200
"""The limit of a JPEG in one scan before `at_least` shrinks it: such a one is decoded row by row."""

_READERS: dict[str, type[ImageFile.ImageFile]] = {
    # Not Pillow's JPEG factory: that reads a phone's image with a depth map or a second exposure as a series
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "PPM": PpmImagePlugin.PpmImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
    "JPEG2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
}
_HEVC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}

_LONGEST_LIST = 200_000  # numbers under one tag of a TIFF: a 16-bit palette has 196,608
_STRIPS = (273, 279, 324, 325)  # the tags that say where strips and tiles lie, and how long they are
_KINDS = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}  # bytes of each

_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Readers warn of odd metadata, which nobody here looks at, and of large images, before our own limits can speak.
# `warnings.catch_warnings` around each decode would change the filters of all threads, and so this is said once, of
# no more than that: Pillow's deprecations are heard as ever, and so is its error at twice the size that it warns of.
# Whoever turns warnings into errors after this line gets an ImageError instead.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.(\w+ImagePlugin|Image)$")
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)

# How readers say that a file ends too early
_ENDS = ("truncated", "requires a buffer", "reached eof", "expected to read", "index out of range")


@dataclass(frozen=True)
class Source:
    """What an image's file says of itself: its format, and its size in pixels before it is turned or shrunk."""

    format: str
    width: int
    height: int


def open_image(path: str | os.PathLike[str], at_least: int | None = None) -> Image.Image:
    """The image in a file, upright (EXIF), as RGB; of several frames or pages the first.

    at_least: the caller will shrink the image to about this many pixels on its shorter side. A JPEG is then
    decoded at 1/2, 1/4 or 1/8 of its size, never below this, which is up to eight times faster.

    Transparency is laid on white, wide numbers are scaled (see `colours.to_rgb`); colour profiles are not applied.

    Safe to call from many threads. Raises ImageError, and nothing else, if the file cannot be read.
    """
    return open_with_source(path, at_least)[0]


def open_with_source(path: str | os.PathLike[str], at_least: int | None = None) -> tuple[Image.Image, Source]:
    """The image as `open_image` gives it, and what its file says of itself; raises ImageError as that does."""
    assert at_least is None or at_least > 0, at_least
    name = os.fspath(path)
    try:
        return _open(Path(name), at_least)
    except ImageError as error:
        reason, hint = error.reason, error.hint
    except Exception as error:  # whatever a reader stumbles over: Pillow's own errors, struct's, zlib's, IndexError
        reason, hint = _reason(error, name), ""
    # Out here, because an error that is kept would keep its cause, and with it half-read pixels and buffers
    raise ImageError(name, reason, hint)


def _open(path: Path, at_least: int | None) -> tuple[Image.Image, Source]:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(str(path), "is a folder")
    if not stat.S_ISREG(status.st_mode):  # asked before opening: to open a fifo is to wait for its writer
        raise ImageError(str(path), "is not a regular file")
    if status.st_size == 0:
        raise ImageError(str(path), "is empty")
    with path.open("rb") as stream:
        opened = _reader(path, stream, status.st_size)(stream)
        source = Source(str(opened.format), *opened.size)
        if at_least is not None:
            opened.draft(None, (at_least, at_least))
        _refuse_too_large(path, opened, source.width, source.height)
        opened.load()
    turn = _turn(opened)
    image = to_rgb(opened)
    if image is opened and turn is None:
        image = image.copy()  # the reader's own object would hold on to its buffers
    del opened  # or three images would stand side by side while one is turned
    if turn is not None:
        image = image.transpose(turn)
    image.info.clear()  # or who looks for an orientation would turn it again
    return image, source


def _reader(path: Path, stream: IO[bytes], size: int) -> type[ImageFile.ImageFile]:
    start = stream.read(64)
    stream.seek(0)
    if _is_heic(start):
        name, reader = "HEIF", _heif_reader(path)
    else:
        name, reader = _pillow_reader(path, start[:16])
    limit = LIMITS[name].megabytes
    if size > limit * 1e6:
        raise ImageError(str(path), f"is {size / 1e6:.0f} MB large, more than {limit} MB")
    if name == "TIFF":
        _refuse_endless_lists(path, stream, size)
        stream.seek(0)
    return reader


def _pillow_reader(path: Path, start: bytes) -> tuple[str, type[ImageFile.ImageFile]]:
    for name, reader in _READERS.items():
        accept = Image.OPEN[name][1]
        answer = accept(start) if accept is not None else False
        if isinstance(answer, str):  # Pillow was built without this format
            raise ImageError(str(path), f"is an image of a kind that this Pillow cannot read ({name})")
        if answer:
            return name, reader
    raise ImageError(str(path), "is not an image that can be read")


def _refuse_endless_lists(path: Path, stream: IO[bytes], size: int) -> None:
    """Raises ImageError for a TIFF that lists more strips or tiles than any image has.

    Pillow makes objects of each of these numbers: a file of 80 MB would take gigabytes, and minutes.
    """
    start = stream.read(16)
    order, big = "<" if start.startswith(b"II") else ">", start[2:3] == b"+"  # BigTIFF, as Pillow tells it
    (offset,) = struct.unpack_from(order + ("Q" if big else "I"), start, 8 if big else 4)
    stream.seek(offset)
    (entries,) = struct.unpack(order + ("Q" if big else "H"), stream.read(8 if big else 2))
    form = struct.Struct(order + ("HHQ8x" if big else "HHI4x"))
    for _ in range(entries):
        entry = stream.read(form.size)
        if len(entry) < form.size:
            return
        tag, kind, count = form.unpack(entry)
        # Pillow skips kinds that it does not know and lists that are not all there, and leaves bytes as they are
        read = kind in _KINDS and count * _KINDS[kind] <= size and (kind not in (1, 2, 7) or tag in _STRIPS)
        if read and count > _LONGEST_LIST:
            raise ImageError(str(path), f"is damaged: lists {count} numbers under its tag {tag}")


def _is_heic(start: bytes) -> bool:
    length = int.from_bytes(start[:4], "big")
    brands = {start[at : at + 4] for at in range(8, min(length, len(start)), 4)}
    return start[4:8] == b"ftyp" and not brands.isdisjoint(_HEVC_BRANDS)


def _heif_reader(path: Path) -> type[ImageFile.ImageFile]:
    pillow_heif = _pillow_heif()
    if pillow_heif is None:
        hint = "`pip install 'facecls[heic]'` adds HEIC images"
        raise ImageError(str(path), "is a HEIC image, and pillow-heif is not installed", hint)
    reader: type[ImageFile.ImageFile] = pillow_heif.HeifImageFile
    return reader


@functools.cache
def _pillow_heif() -> ModuleType | None:
    try:
        return importlib.import_module("pillow_heif")
    except ImportError:
        return None


def _refuse_too_large(path: Path, image: ImageFile.ImageFile, width: int, height: int) -> None:
    """Raises ImageError for an image of too many pixels; called before any is decoded, `image` shrunk already."""
    limit = LIMITS[str(image.format)].megapixels
    if isinstance(image, JpegImagePlugin.JpegImageFile):
        if _has_several_scans(image):
            limit = MEGAPIXELS_IN_SCANS
        elif image.width * image.height <= limit * 1e6:
            limit = MEGAPIXELS_BEFORE_SHRINKING
    if width * height > limit * 1e6:
        raise ImageError(str(path), f"claims {width} x {height} pixels, more than {limit} million")


def _has_several_scans(image: JpegImagePlugin.JpegImageFile) -> bool:
    """Whether the coefficients of the whole image are held in memory, however small it is decoded."""
    if "progressive" in image.info or image.layers == 4:
        return True
    assert image.fp is not None
    # The reader stands behind the header of the first scan: does that hold all colours?
    length = 6 + 2 * image.layers
    image.fp.seek(-length, os.SEEK_CUR)
    return image.fp.read(3) != struct.pack(">HB", length, image.layers)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What sets a loaded image upright, by its EXIF or XMP."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # metadata that cannot be read says nothing, and the pixels are whole
        return None


def _reason(error: Exception, name: str) -> str:
    """What a system error or a reader's exception means to who took the image."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "is a link to nothing" if Path(name).is_symlink() else "no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    if isinstance(error, OSError) and error.errno is not None:
        known = {errno.ENAMETOOLONG: "its name is too long", errno.ELOOP: "is a link that leads to itself"}
        return known.get(error.errno) or f"cannot be read: {os.strerror(error.errno).lower()}"
    if isinstance(error, Image.DecompressionBombError):
        return "claims more pixels than any image has"
    word = " ".join(str(error).split())
    if isinstance(error, EOFError) or any(end in word.lower() for end in _ENDS):
        return "is cut short"
    if "null byte" in word or isinstance(error, UnicodeError):
        return "no such file"
    return f"is damaged: {word or type(error).__name__}"
