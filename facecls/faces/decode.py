"""Decodes image files safely: upright, RGB, limited in size; any failure is an ImageError with its reason.

Pillow's plugin classes are called directly. `Image.open(formats=...)` replaces their errors by "cannot identify image
file", rejects more than 179 million pixels before `draft` can shrink a JPEG, by a limit that is process-wide, and opens
a JPEG with a second frame as MPO.
"""

import errno
import functools
import importlib
import io
import os
import stat
from pathlib import Path
from types import ModuleType
from typing import IO, TypeAlias

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
from facecls.faces.limits import LIMITS, ImageHeader, check_pixel_limit, check_tiff_tags

SUFFIXES = frozenset(
    """
    .jpg .jpeg .jpe .jfif .png .apng .gif .bmp .webp .tif .tiff .ppm .pgm .pbm .pnm .pfm .avif .heic .heif
    .jp2 .j2k .j2c .jpc .jpf .jpx
    """.split()  # noqa: SIM905  quotes would make it harder to read
)
"""Lower-case suffixes, with their dot, of the files listed as images. The format is detected by the first bytes alone."""


_PLUGINS: dict[str, type[ImageFile.ImageFile]] = {
    # Not Pillow's JPEG factory, which opens a phone's image with a depth map or a second exposure as a sequence (MPO)
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

_TRANSPOSES: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# In the messages of decoders for a file that ends too early
_TRUNCATED = (
    "truncated",
    "requires a buffer",
    "reached eof",
    "expected to read",
    "index out of range",
    "unexpected end of file",
    "insufficient input data",
)


Source: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes]
"""A path, the content of an image file, or a binary file object, which is read to its end."""


def open_image(source: Source, at_least: int | None = None) -> Image.Image:
    """The image in a file as RGB, upright by its EXIF orientation; the first of several frames or pages.

    at_least: pixels of the shorter side that the caller needs. A JPEG is then decoded at the smallest of 1/2, 1/4 or 1/8 of
        its size that is not below this, up to eight times as fast.

    Transparent pixels are composited on white and wide pixel types are scaled (see `colour.to_rgb`); colour profiles are
    not applied. Thread-safe. Raises ImageError, and nothing else, if the file cannot be read.
    """
    return open_with_header(source, at_least)[0]


def open_with_header(source: Source, at_least: int | None = None) -> tuple[Image.Image, ImageHeader]:
    """The image as `open_image` returns it, and its header; raises ImageError like that."""
    assert at_least is None or at_least > 0, at_least
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "image"
    try:
        if isinstance(source, str | os.PathLike):
            return _open_file(Path(name), at_least)
        content = source if isinstance(source, bytes) else source.read()
        return _decode(name, io.BytesIO(content), len(content), at_least)
    except ImageError as error:
        reason, hint = error.reason, error.hint
    except Exception as error:  # decoders raise errors of Pillow, struct and zlib, IndexError and more
        reason, hint = _reason(error, name), ""
    # Outside the except block: an error kept by the caller would keep its cause alive, with pixels and buffers
    raise ImageError(name, reason, hint)


def _open_file(path: Path, at_least: int | None) -> tuple[Image.Image, ImageHeader]:
    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise ImageError(str(path), "is a folder")
    if not stat.S_ISREG(status.st_mode):  # before opening: opening a FIFO waits for its writer
        raise ImageError(str(path), "is not a regular file")
    with path.open("rb") as stream:
        return _decode(str(path), stream, status.st_size, at_least)


def _decode(name: str, stream: IO[bytes], size: int, at_least: int | None) -> tuple[Image.Image, ImageHeader]:
    if size == 0:
        raise ImageError(name, "is empty")
    opened = _plugin(name, stream, size)(stream)
    header = ImageHeader(str(opened.format), *opened.size)
    if at_least is not None:
        opened.draft(None, (at_least, at_least))
    check_pixel_limit(name, opened, header)
    opened.load()
    transpose = _upright_transpose(opened)
    image = to_rgb(opened)
    if image is opened and transpose is None:
        image = image.copy()  # the plugin's object would keep its buffers alive
    del opened  # else three copies of the pixels would be in memory during the transpose
    if transpose is not None:
        image = image.transpose(transpose)
    image.info.clear()  # else a caller that applies the orientation would apply it twice
    return image, header


def upright_rgb(image: Image.Image) -> Image.Image:
    """A PIL image as `open_image` returns it, but of full size; raises ImageError if it cannot be loaded."""
    try:
        image.load()
        transpose = _upright_transpose(image)
        rgb = to_rgb(image)
        return rgb if transpose is None else rgb.transpose(transpose)
    except Exception as error:  # as in open_with_header: a lazily loaded image is decoded here
        reason = _reason(error, "image")
    raise ImageError("image", reason)


def _plugin(path: str, stream: IO[bytes], size: int) -> type[ImageFile.ImageFile]:
    start = stream.read(64)
    stream.seek(0)
    if _is_heic(start):
        name, plugin = "HEIF", _heif_plugin(path)
    else:
        name, plugin = _pillow_plugin(path, start[:16])
    limit = LIMITS[name].megabytes
    if size > limit * 1e6:
        raise ImageError(path, f"is {size / 1e6:.0f} MB large, more than {limit} MB")
    if name == "TIFF":
        check_tiff_tags(path, stream, size)
        stream.seek(0)
    return plugin


def _pillow_plugin(path: str, start: bytes) -> tuple[str, type[ImageFile.ImageFile]]:
    for name, plugin in _PLUGINS.items():
        accept = Image.OPEN[name][1]
        accepted = accept(start) if accept is not None else False
        if isinstance(accepted, str):  # Pillow was built without this format
            raise ImageError(path, f"is in a format that this Pillow cannot read ({name})")
        if accepted:
            return name, plugin
    raise ImageError(path, "is not an image that can be read")


def _is_heic(start: bytes) -> bool:
    length = int.from_bytes(start[:4], "big")
    brands = {start[at : at + 4] for at in range(8, min(length, len(start)), 4)}
    return start[4:8] == b"ftyp" and not brands.isdisjoint(_HEVC_BRANDS)


def _heif_plugin(path: str) -> type[ImageFile.ImageFile]:
    pillow_heif = _pillow_heif()
    if pillow_heif is None:
        raise ImageError(path, "is a HEIC image, which needs `pip install 'facecls[heic]'`")
    plugin: type[ImageFile.ImageFile] = pillow_heif.HeifImageFile
    return plugin


@functools.cache
def _pillow_heif() -> ModuleType | None:
    try:
        return importlib.import_module("pillow_heif")
    except ImportError:
        return None


def _upright_transpose(image: Image.Image) -> Image.Transpose | None:
    """The transpose that turns a loaded image upright, by its EXIF or XMP."""
    try:
        return _TRANSPOSES.get(image.getexif().get(ExifTags.Base.Orientation))
    except Exception:  # the metadata is damaged, the pixels are not
        return None


def _reason(error: Exception, name: str) -> str:
    """The reason for the user behind a system error or a decoder's exception."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return "is a broken link" if Path(name).is_symlink() else "no such file"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, MemoryError):
        return "does not fit into memory"
    if isinstance(error, OSError) and error.errno is not None:
        reasons = {errno.ENAMETOOLONG: "its name is too long", errno.ELOOP: "is a circular link"}
        return reasons.get(error.errno) or f"cannot be read: {os.strerror(error.errno).lower()}"
    if isinstance(error, Image.DecompressionBombError):
        return "claims too many pixels"
    message = " ".join(str(error).split())
    if isinstance(error, EOFError) or any(end in message.lower() for end in _TRUNCATED):
        return "is cut short"
    if "null byte" in message or isinstance(error, UnicodeError):
        return "no such file"
    from_decoder = isinstance(error, OSError | RuntimeError | SyntaxError | ValueError)  # others are of a plugin's Python code
    return f"is damaged ({message.rstrip('.')})" if message and from_decoder else "is damaged"
