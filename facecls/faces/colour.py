"""From any of Pillow's modes (palette, 16 bits, transparency, CMYK...) to RGB, in little memory."""

import math
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, TiffImagePlugin

_PIXELS_AT_ONCE = 1 << 18


def to_rgb(image: Image.Image) -> Image.Image:
    """The same image in RGB: `image` itself if it is that, or a new one.

    What is transparent becomes white: portraits are cut out to be shown on white pages, and the colour that lies
    under full transparency is whatever the program left there. Of 16-bit grey 65535 is white (of 12-bit 4095).
    Numbers without a known white (32-bit and float) are taken as 0 to 1, 0 to 255 or 0 to 65535 where they fit, and
    are stretched from their least to their largest where they do not. Raises ValueError if no pixel is a number.
    """
    mode = image.mode
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or (mode in ("1", "L", "P", "RGB") and image.has_transparency_data):
        return _in_strips(image, _on_white)
    if mode in ("I", "F") or mode.startswith("I;16"):
        black, white = _black_and_white(image)
        return _in_strips(image, lambda strip: _scaled(strip, black, white))
    return image if mode == "RGB" else _in_strips(image, lambda strip: strip.convert("RGB"))


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """An image, some rows at a time, each with the number of its first row."""
    rows = max(1, _PIXELS_AT_ONCE // image.width)
    if image.height <= rows:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _in_strips(image: Image.Image, to_rgb: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """`to_rgb` of an image, in strips, so that what it makes on its way takes no memory to speak of."""
    whole = Image.new("RGB", image.size)
    for top, strip in _strips(image):
        whole.paste(to_rgb(strip), (0, top))
    return whole


def _on_white(image: Image.Image) -> Image.Image:
    image = image.convert("LA") if image.mode == "La" else image  # Pillow has no way from La to RGBA
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _black_and_white(image: Image.Image) -> tuple[float, float]:
    """The numbers that stand for black and for white in an image with one wide number to a pixel."""
    if image.mode != "F" and (image.mode != "I" or image.format == "PPM"):
        twelve_bits = isinstance(image, TiffImagePlugin.TiffImageFile) and image.tag_v2.get(258) == (12,)
        return 0, 4095 if twelve_bits else 65535
    low, high = math.inf, -math.inf
    for _, strip in _strips(image):
        numbers = np.asarray(strip)
        numbers = numbers[np.isfinite(numbers)]
        if numbers.size:
            low, high = min(low, float(numbers.min())), max(high, float(numbers.max()))
    if low > high:
        raise ValueError("no pixel is a number")
    if low >= 0:
        whites = (1, 255, 65535) if image.mode == "F" else (255, 65535)
        white = next((white for white in whites if high <= white), None)
        if white is not None:
            return 0, white
    return low, high


def _scaled(image: Image.Image, black: float, white: float) -> Image.Image:
    with np.errstate(invalid="ignore"):  # signalling NaNs
        numbers = np.asarray(image).astype(np.float64)
        numbers = np.clip((numbers - black) / max(white - black, np.finfo(np.float64).tiny), 0, 1)
    return Image.fromarray(np.rint(np.nan_to_num(numbers) * 255).astype(np.uint8)).convert("RGB")
