"""A check as one HTML file, with a thumbnail of every image concerned; the images of one item are side by side."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from facecls.check.check import CheckResult, summary_rows
from facecls.check.faces import THUMBNAILS
from facecls.check.findings import AuditedImages, Finding
from facecls.data.load import geometry_of
from facecls.device import available_cores
from facecls.errors import ImageError
from facecls.faces.detect import Pixels
from facecls.faces.geometry import Geometry, read_face
from facecls.faces.photograph import FoundFaces, cut_face
from facecls.report.page import image_url, render, write_page
from facecls.text import printable

_SIDE = 112  # pixels of a thumbnail
_MAIN, _OTHER = (255, 210, 0), (255, 255, 255)  # colours of boxes
_MOST_ITEMS = 100  # shown of a finding
_OPEN_IMAGES = 60  # visible at first in the page; the rest unfolds
_MOST_IMAGES = 8  # shown of an item


def write_html(path: Path, result: CheckResult) -> None:
    """Writes the page; raises RunError if it cannot be written."""
    images, findings = result.audit.images, result.audit.findings
    shown = {
        (index, THUMBNAILS.get(finding.kind, "image"))
        for finding in findings
        for item in finding.items[:_MOST_ITEMS]
        for index in item.images[:_MOST_IMAGES]
    }
    geometry = replace(geometry_of(result.config.data), image_size=_SIDE, crop=1.0, fit="pad")
    with ThreadPoolExecutor(available_cores()) as pool:
        urls = dict(zip(shown, pool.map(lambda key: _thumbnail_url(images, key[0], key[1], geometry), shown), strict=True))
    html = render(
        "check.html.j2",
        title=f"Check of {printable(str(result.config.data.root))}",
        summary=summary_rows(result),
        findings=findings,
        images=images,
        urls=urls,
        thumbnails=THUMBNAILS,
        open_items=open_items(findings),
        most_items=_MOST_ITEMS,
        most_images=_MOST_IMAGES,
    )
    write_page(path, html)


def open_items(findings: Sequence[Finding]) -> list[int]:
    """How many items of each finding are visible at first: at least one, and together about _OPEN_IMAGES images."""
    left, counts = _OPEN_IMAGES, []
    for finding in findings:
        sizes = np.cumsum([min(len(item.images), _MOST_IMAGES) for item in finding.items[:_MOST_ITEMS]])
        counts.append(max(1, int((sizes <= left).sum())))
        left -= int(sizes[: counts[-1]][-1]) if len(sizes) else 0
    return counts


def _thumbnail_url(images: AuditedImages, index: int, kind: str, geometry: Geometry) -> str:
    """An image as a `data:` URL: whole, padded to a square, with or without boxes, or its main face; empty if unreadable."""
    path = images.paths[index]
    found = None if images.detections is None else images.detections.found[index]
    try:
        if kind == "cut" and found is not None:
            return image_url(cut_face(path, found.faces[0], geometry))
        if kind == "boxes" and found is not None:
            return image_url(_with_boxes(read_face(path, replace(geometry, image_size=2 * _SIDE)), found))
        return image_url(read_face(path, geometry))
    except ImageError:
        return ""


def _with_boxes(padded: Pixels, found: FoundFaces) -> Pixels:
    """The image, padded to a square (S, S, 3), with the boxes of its faces, that of the main face in another colour."""
    image = Image.fromarray(padded)
    scale = image.width / max(found.width, found.height)
    left, top = ((image.width - scale * side) / 2 for side in (found.width, found.height))
    draw = ImageDraw.Draw(image)
    for number, face in reversed(list(enumerate(found.faces))):
        x, y, width, height = (scale * value for value in face.box)
        corners = (left + x, top + y, left + x + width, top + y + height)
        draw.rectangle(corners, outline=_MAIN if number == 0 else _OTHER, width=3 if number == 0 else 1)
    return np.asarray(image)
