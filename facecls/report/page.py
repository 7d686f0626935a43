"""Renders templates to one self-contained HTML file: it loads nothing from the network or from other files."""

import base64
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from numpy.typing import NDArray
from PIL import Image

from facecls.files import prepare_output, write_atomic

_DOCTYPE = b"<!doctype html>"
_THUMBNAIL = 256  # pixels per side; keeps a page of sixty images below 5 MB


def render(template: str, **values: Any) -> str:
    """Renders a template of this package; values are escaped."""
    environment = Environment(
        loader=PackageLoader("facecls.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "percent_range": percent_range,
        "image_url": image_url,
        "sentence": sentence,
        "code": code,
        "breakable": breakable,
        "columns": columns,
    }
    return environment.get_template(template).render(**values)


def check_page_output(path: Path) -> None:
    """Creates the folder of a page; raises RunError if that fails or `path` holds another kind of file."""
    prepare_output(path, "an HTML page", _DOCTYPE)


def write_page(path: Path, html: str) -> None:
    """Writes a page atomically; raises RunError if it cannot be written."""
    check_page_output(path)
    # File names that are not UTF-8 are shown with question marks.
    write_atomic(path, html.encode("utf-8", errors="replace"))


def percent(share: float | None, digits: int = 1) -> str:
    """`0.12345` as `12.3 %`, with a no-break space; None as a dash."""
    return "-" if share is None else f"{share * 100:.{digits}f}\u00a0%"


def percent_range(interval: tuple[float, float]) -> str:
    """`12.3 % to 45.6 %`."""
    return " to ".join(map(percent, interval))


def sentence(text: str) -> Markup:
    """The text as HTML, with a capital first letter, a full stop at the end, and backticks as <code>."""
    return code(text[:1].upper() + text[1:].rstrip(".") + ".")


def code(text: str) -> Markup:
    """The text as escaped HTML, with `...` as <code>."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def breakable(text: str) -> Markup:
    """The text as HTML in which lines may break after separators, as in file names."""
    return Markup(re.sub(r"([/_,-])(?=[^/_,-])", r"\1<wbr>", str(escape(text))))


def columns(items: Sequence[object], most: int = 4) -> int:
    """The number of columns, at most `most`, in which rows of `items` are as equally long as possible."""
    return -(-len(items) // -(-len(items) // most))


def image_url(face: NDArray[np.uint8]) -> str:
    """Uint8 (S, S, 3) as a `data:` URL of at most 256 x 256 pixels, about 4 kB at 112."""
    buffer, image = io.BytesIO(), Image.fromarray(face)
    image.thumbnail((_THUMBNAIL, _THUMBNAIL))
    image.save(buffer, "WEBP", quality=80)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()
