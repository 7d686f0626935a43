"""Predictions drawn: each image with its name on it, or with where the network looked."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from facecls.config.schema import UNKNOWN
from facecls.errors import ImageError, RunError
from facecls.evaluation.gradcam import GradCam, overlay
from facecls.faces.decode import open_image
from facecls.faces.geometry import read_face
from facecls.inference.predict import Prediction, Predictor
from facecls.text import printable

_SIDE = 320  # pixels, the least side of an explained face
_FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial.ttf")  # they have more letters than Pillow's own
_BAND = (20, 24, 30)
_DRAWN = ".drawn.jpg"  # behind the name of an image that is no JPEG or PNG
_ROOT = "from-root"  # holds the drawings of images that do not lie below the current folder


def annotate_images(predictions: Iterable[Prediction], folder: Path) -> Iterator[Prediction]:
    """Passes predictions on, each image being written below `folder` with its name and probability under it.

    Raises RunError where that cannot be.
    """
    for prediction in predictions:
        with suppress(ImageError):  # one that is gone since has its row already
            if prediction.error is None:
                place = _place_elsewhere(prediction.path, folder)
                _save(_captioned(open_image(prediction.path), caption(prediction)), place)
        yield prediction


def explain_images(predictions: Iterable[Prediction], folder: Path, predictor: Predictor) -> Iterator[Prediction]:
    """Passes predictions on, each face being written below `folder` as the network saw it, beside where it looked.

    Raises ModelError for a network without a feature map, RunError where nothing can be written.
    """
    cam = GradCam(predictor.model, predictor.device, predictor.geometry.image_size, predictor.name)
    for prediction in predictions:
        with suppress(ImageError):
            if prediction.nearest is not None:
                face = read_face(prediction.path, predictor.geometry)[None]
                heat = cam(face, np.array([predictor.classes.index(prediction.nearest)]))
                both = Image.fromarray(np.concatenate([face[0], overlay(face, heat)[0]], axis=1))
                scale = max(1, -(-_SIDE // both.height))
                both = both.resize((both.width * scale, both.height * scale), Image.Resampling.BICUBIC)
                _save(_captioned(both, caption(prediction)), _place_elsewhere(prediction.path, folder))
        yield prediction


def caption(prediction: Prediction) -> str:
    """What is written under an image."""
    said = printable(f"{prediction.nearest} {prediction.probability:.1%}")  # a line end cannot be drawn
    return said if prediction.known else f"{UNKNOWN} (nearest {said})"


def place_of(path: str, folder: Path) -> Path:
    """Where below `folder` an image's drawing goes: its own path from here, or `from-root` and the full one.

    What is no JPEG or PNG becomes a JPEG, with `.drawn.jpg` behind its name. No two drawings meet: a path that begins or ends
    in these words itself gets them as well.
    """
    full, here = Path(os.path.abspath(path)), Path.cwd()  # noqa: PTH100 -- links stay links
    below = full.relative_to(here) if full.is_relative_to(here) else None
    if below is None or below.parts[:1] == (_ROOT,):
        below = Path(_ROOT, re.sub(r"\W", "", full.drive), *full.parts[1:])  # of Windows the drive as a folder
    stays = below.suffix.lower() in (".jpg", ".jpeg", ".png") and not below.name.lower().endswith(_DRAWN)
    return folder / (below if stays else below.with_name(below.name + _DRAWN))


def _place_elsewhere(path: str, folder: Path) -> Path:
    place = place_of(path, folder)
    if place.resolve() == Path(path).resolve():
        raise RunError(f"{place}: is the image itself, its drawing is not put in its place", hint="name another folder")
    return place


def _captioned(image: Image.Image, words: str) -> Image.Image:
    """The image over a band with words, which are made smaller until they fit."""
    size = max(14, min(image.width, image.height) // 16)
    while size > 8 and _font(size).getlength(words) > image.width - size:
        size -= 1
    band = round(1.9 * size)
    drawn = Image.new("RGB", (image.width, image.height + band), _BAND)
    drawn.paste(image)
    middle = (image.width / 2, image.height + band / 2)
    ImageDraw.Draw(drawn).text(middle, words, font=_font(size), fill="white", anchor="mm")
    return drawn


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
        raise RunError(f"{path}: cannot be written: {error.strerror or error}", hint="name another folder") from None
