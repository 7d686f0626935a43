"""Converts any of Pillow's modes (palette, 16 bits, transparency, CMYK...) to RGB with little extra memory."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, TiffImagePlugin

_PIXELS_AT_ONCE = 1 << 18


def to_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB: `image` itself if it is RGB already, or a new image.

    Transparent pixels are composited on white: cut-out portraits are made for white pages, and the colour under full
    transparency is arbitrary. In 16-bit grey 65535 is white (in 12-bit 4095). Types without a defined white (32-bit and
    float) are scaled from the first of the ranges 0 to 1, 0 to 255 and 0 to 65535 that contains all values, else from their
    minimum to their maximum. Raises ValueError if no pixel is finite.
    """
    mode = image.mode
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or (mode in ("1", "L", "P", "RGB") and image.has_transparency_data):
        return _in_strips(image, _on_white)
    if mode in ("I", "F") or mode.startswith("I;16"):
        black, white = _black_and_white(image)
        return _in_strips(image, lambda strip: _scaled(strip, black, white))
    return image if mode == "RGB" else _in_strips(image, lambda strip: strip.convert("RGB"))


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """The image in strips of some rows, each with the index of its first row."""
    rows = max(1, _PIXELS_AT_ONCE // image.width)
    if image.height <= rows:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _in_strips(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`to_rgb` applied strip by strip, so that its intermediate images are small."""
    converted = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        converted.paste(to_rgb(strip), (0, top))
    return converted


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("LA") if image.mode == "La" else image  # Pillow cannot convert La to RGBA
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _black_and_white(image: Image.Image) -> tuple[float, float]:
    """The values of black and white in an image with one channel of more than 8 bits."""
    if image.mode != "F" and (image.mode != "I" or image.format == "PPM"):
        twelve_bits = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(258) == (12,)
        return 0, 4095 if twelve_bits else 65535
    low, high = math.inf, -math.inf
    for _, strip in _strips(image):
        values = np.asarray(strip)
        values = values[np.isfinite(values)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    if low > high:
        raise ValueError("no pixel is finite")
    if low >= 0:
        whites = (1, 255, 65535) if image.mode == "F" else (255, 65535)
        white = next((white for white in whites if high <= white), None)
        if white is not None:
            return 0, white
    return low, high


def _scaled(image: Image.Image, black: float, white: float) -> Image.Image:
    with np.errstate(invalid="ignore"):  # signalling NaNs
        values = np.asarray(image).astype(np.float64)
        values = np.clip((values - black) / max(white - black, np.finfo(np.float64).tiny), 0, 1)
    return Image.fromarray(np.rint(np.nan_to_num(values) * 255).astype(np.uint8)).convert("RGB")
