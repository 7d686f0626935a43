"""Templates to one HTML file that needs nothing else: no network, no other file."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from facecls.files import prepare_output, write_atomic

_BEGINNING = b"<!doctype html>"
_THUMBNAIL = 256  # pixels: a page shows some sixty images and is to stay below 5 MB


def render(template: str, **values: Any) -> str:
    """A template of this package, filled in; what values hold is escaped."""
    environment = Environment(
        loader=PackageLoader("facecls.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "image": image, "sentence": sentence}
    return environment.get_template(template).render(**values)


def check_page_output(path: Path) -> None:
    """Makes the folder that a page is to lie in; raises RunError where that cannot be, or something else lies there."""
    prepare_output(path, "an HTML page", _BEGINNING)


def write_page(path: Path, html: str) -> None:
    """Writes a page beside, then renames; raises RunError where it cannot be written."""
    check_page_output(path)
    # A file name that is no UTF-8 is shown with question marks.
    write_atomic(path, html.encode("utf-8", errors="replace"))


def percent(share: float | None, digits: int = 1) -> str:
    """`0.12345` as `12.3 %` that no line break divides; a dash for what is not known."""
    return "-" if share is None else f"{share * 100:.{digits}f}\u00a0%"


def sentence(words: str) -> str:
    """With a capital at its head and a full stop at its end."""
    return words[:1].upper() + words[1:].rstrip(".") + "."


def image(face: NDArray[np.uint8]) -> str:
    """Uint8 (S, S, 3) as a `data:` address, about 4 kB at 112 pixels; no side has more than `_THUMBNAIL` there."""
    buffer, image = io.BytesIO(), Image.fromarray(face)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    image.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
