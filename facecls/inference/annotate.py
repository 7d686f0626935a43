"""Annotated images: each image with its predictions, and each face beside its Grad-CAM overlay."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facecls.config.schema import UNKNOWN
from facecls.errors import ImageError, RunError
from facecls.evaluation.gradcam import GradCam, overlay
from facecls.faces.decode import open_image
from facecls.faces.photograph import NO_FACE
from facecls.inference.classifier import Classifier, Prediction
from facecls.text import printable

_MIN_SIDE = 320  # pixels; smaller faces are enlarged beside their overlay
_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf")  # they cover more letters than Pillow's default font
_BAND_COLOUR = (20, 24, 30)
_BOX_COLOUR, _UNKNOWN_COLOUR = (255, 255, 255), (255, 190, 90)
_CONVERTED = ".drawn.jpg"  # appended to the name of an image that is neither JPEG nor PNG
_OUTSIDE = "from-root"  # subfolder for images that are not below the current directory
_HINT = "choose another folder"


def annotate_images(predictions: Iterable[list[Prediction]], folder: Path) -> Iterator[list[Prediction]]:
    """Yields each image's predictions after writing the image below `folder`: with its class and probability in a band below
    it, or, where faces are detected, with a box and its class at each face.

    Raises RunError if a file cannot be written or would overwrite its own input.
    """
    for image in predictions:
        with suppress(ImageError):  # deleted or changed since it was classified
            if image[0].error in (None, NO_FACE):
                path = _output_path(image[0].path, folder)
                opened = open_image(image[0].path)
                faces = [(each.box, each) for each in image if each.box is not None]
                _save(_boxed(opened, faces) if faces else _captioned(opened, image[0].error or caption(image[0])), path)
        yield image


def explain_images(predictions: Iterable[list[Prediction]], folder: Path, classifier: Classifier) -> Iterator[list[Prediction]]:
    """Yields each image's predictions after writing each model input below `folder` beside its Grad-CAM overlay.

    Overlays are for the nearest class. That of the second face in `name.jpg` is `name.2.jpg`, as in `facecls prepare`.
    Raises ModelError if the network has no feature map, RunError as `annotate_images` does.
    """
    cam = GradCam(classifier.model, classifier.device, classifier.geometry.image_size, classifier.checkpoint.model.name)
    for image in predictions:
        with suppress(ImageError):
            faces = [face.pixels for face in classifier.read_one(image[0].path).faces] if image[0].error is None else []
            for prediction, pixels in zip(image, faces, strict=False):
                assert prediction.nearest is not None
                face = pixels[None]  # (1, S, S, 3)
                heat = cam(face, np.array([classifier.classes.index(prediction.nearest)]))
                both = Image.fromarray(np.concatenate([face[0], overlay(face, heat)[0]], axis=1))
                scale = max(1, -(-_MIN_SIDE // both.height))
                both = both.resize((both.width * scale, both.height * scale), Image.Resampling.BICUBIC)
                path = _output_path(prediction.path, folder)
                path = path.with_stem(f"{path.stem}.{prediction.face + 1}") if prediction.face else path
                _save(_captioned(both, caption(prediction)), path)
        yield image


def caption(prediction: Prediction) -> str:
    """Returns the text below an image: the nearest class with its probability, and whether the image is rejected."""
    text = printable(f"{prediction.nearest} {prediction.probability:.1%}")  # Pillow cannot centre text with line breaks
    return text if prediction.known else f"{UNKNOWN} (if known, {text})"


def annotated_path(path: str, folder: Path) -> Path:
    """Returns where below `folder` the annotated copy of an image goes; different images get different paths.

    It is the image's path relative to the current directory, or `from-root` and its absolute path. An image that is neither
    JPEG nor PNG is written as JPEG, with `.drawn.jpg` appended to its name; so is one whose own name ends that way.
    """
    absolute, here = Path(os.path.abspath(path)), Path.cwd()  # noqa: PTH100 -- Path.resolve would follow links
    relative = absolute.relative_to(here) if absolute.is_relative_to(here) else None
    if relative is None or relative.parts[:1] == (_OUTSIDE,):
        relative = Path(
            _OUTSIDE, re.sub(r"\W", "", absolute.drive), *absolute.parts[1:]
        )  # a Windows drive letter becomes a folder
    keeps_name = relative.suffix.lower() in (".jpg", ".jpeg", ".png") and not relative.name.lower().endswith(_CONVERTED)
    return folder / (relative if keeps_name else relative.with_name(relative.name + _CONVERTED))


def _output_path(path: str, folder: Path) -> Path:
    output = annotated_path(path, folder)
    if output.resolve() == Path(path).resolve():
        raise RunError(f"{output}: is the input image itself and is not overwritten", hint=_HINT)
    return output


def _captioned(image: Image.Image, text: str) -> Image.Image:
    """Returns the image above a band with text, in a font size that fits the image's width if possible."""
    size = max(14, min(image.width, image.height) // 16)
    while size > 8 and _font(size).getlength(text) > image.width - size:
        size -= 1
    band_height = round(1.9 * size)
    captioned = Image.new("RGB", (image.width, image.height + band_height), _BAND_COLOUR)
    captioned.paste(image)
    middle = (image.width / 2, image.height + band_height / 2)
    ImageDraw.Draw(captioned).text(middle, text, font=_font(size), fill="white", anchor="mm")
    return captioned


def _boxed(image: Image.Image, faces: Sequence[tuple[tuple[float, float, float, float], Prediction]]) -> Image.Image:
    """Returns the image with a box around each face and its class on a dark ground at the box, inside the image."""
    draw = ImageDraw.Draw(image)
    line = max(2, round(max(image.size) / 500))
    for (x, y, width, height), prediction in faces:
        colour = _BOX_COLOUR if prediction.known else _UNKNOWN_COLOUR
        draw.rectangle((x - line, y - line, x + width + line, y + height + line), outline=_BAND_COLOUR, width=3 * line)
        draw.rectangle((x, y, x + width, y + height), outline=colour, width=line)
    for (x, y, width, height), prediction in faces:  # above all boxes
        text = printable(f"{prediction.nearest} {prediction.probability:.0%}") if prediction.known else UNKNOWN
        size = max(11, round(max(image.size) / 110), min(round(width / 5), round(max(image.size) / 40)))
        while size > 8 and _font(size).getlength(text) > image.width:
            size -= 1
        pad = size // 4
        wide, high = _font(size).getlength(text) + 2 * pad, size * 1.25 + 2 * pad
        left = min(max(0.0, x + (width - wide) / 2), max(0.0, image.width - wide))
        top = y + height + line if y + height + line + high <= image.height else max(0.0, y - line - high)
        colour = _BOX_COLOUR if prediction.known else _UNKNOWN_COLOUR
        draw.rectangle((left, top, left + wide, top + high), fill=_BAND_COLOUR)
        draw.text((left + wide / 2, top + high / 2), text, font=_font(size), fill=colour, anchor="mm")
    return image


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    for name in _FONTS:
        try:
            return ImageFont.truetype(name, size)
        except OSError:
            continue
    return ImageFont.load_default(size)


def _save(image: Image.Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=90)
    except OSError as error:
        raise RunError(f"{path}: cannot be written: {error.strerror or error}", hint=_HINT) from None
