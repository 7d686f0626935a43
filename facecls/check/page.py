"""A check as one HTML file, with a thumbnail of every image concerned; the images of one item stand side by side."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from facecls.check.check import CheckResult, relative, summary_rows
from facecls.check.findings import Item
from facecls.device import available_cores
from facecls.errors import ImageError
from facecls.faces.geometry import Geometry, read_face
from facecls.report.page import image_url, render, write_page

_SIDE = 112  # pixels of a thumbnail
_MOST_ITEMS = 100  # shown of a finding
_MOST_IMAGES = 8  # shown of an item


@dataclass(frozen=True)
class Thumbnail:
    """An image and its caption."""

    url: str  # empty if the image cannot be read
    path: str
    label: str


@dataclass(frozen=True)
class PageItem:
    """An item of a finding on the page; `more` counts the images that are not shown."""

    thumbnails: tuple[Thumbnail, ...]
    note: str
    more: int


def write_html(path: Path, result: CheckResult) -> None:
    """Writes the page; raises RunError if it cannot be written."""
    images = result.audit.images
    shown = {
        index
        for finding in result.audit.findings
        for item in finding.items[:_MOST_ITEMS]
        for index in item.images[:_MOST_IMAGES]
    }
    with ThreadPoolExecutor(available_cores()) as pool:
        urls = dict(zip(shown, pool.map(lambda index: _thumbnail_url(images.paths[index]), shown), strict=True))
    findings = [
        {
            "finding": finding,
            "items": [_page_item(result, item, urls) for item in finding.items[:_MOST_ITEMS]],
            "more": max(0, len(finding.items) - _MOST_ITEMS),
            "with_images": any(item.images for item in finding.items),
        }
        for finding in result.audit.findings
    ]
    title = f"Check of {relative(str(result.config.data.root), Path('/'))}"
    html = render("check.html.j2", title=title, summary=summary_rows(result), findings=findings, count=len(images))
    write_page(path, html)


def _page_item(result: CheckResult, item: Item, urls: dict[int, str]) -> PageItem:
    images = result.audit.images
    thumbnails = tuple(
        Thumbnail(
            urls[index],
            relative(images.paths[index], result.config.data.root),
            f"{images.class_of(index)}, {images.split_of(index)}",
        )
        for index in item.images[:_MOST_IMAGES]
    )
    return PageItem(thumbnails, item.note, len(item.images) - len(thumbnails))


def _thumbnail_url(path: str) -> str:
    """The whole image, padded to a square, as a `data:` URL; empty if it cannot be read."""
    try:
        return image_url(read_face(path, Geometry(_SIDE, fit="pad")))
    except ImageError:
        return ""
