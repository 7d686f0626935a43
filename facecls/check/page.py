"""A check as one HTML file, with a small image of everything that was found; pairs stand side by side."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from facecls.check.check import CheckResult, facts, relative
from facecls.device import available_cores
from facecls.errors import ImageError
from facecls.faces.geometry import Geometry, read_face
from facecls.report.page import image, render, write_page

_SIDE = 112  # pixels of a thumbnail
_SHOWN = 100  # items of a finding that the page shows
_OF_A_GROUP = 8  # images of one item


@dataclass(frozen=True)
class Thumb:
    """An image with what it is; `source` is empty where it cannot be read."""

    source: str
    path: str
    words: str


@dataclass(frozen=True)
class Shown:
    """An item of a finding as the page has it."""

    thumbs: tuple[Thumb, ...]
    note: str
    more: int


def write_html(path: Path, result: CheckResult) -> None:
    """Writes the page; raises RunError where it cannot be written."""
    numbers = sorted(
        {number for finding in result.audit.findings for item in finding.items[:_SHOWN] for number in item.images[:_OF_A_GROUP]}
    )
    with ThreadPoolExecutor(available_cores()) as pool:
        sources = dict(zip(numbers, pool.map(lambda number: _source(result.audit.images.paths[number]), numbers), strict=True))
    findings = [
        {
            "kind": finding.kind,
            "grave": finding.grave,
            "message": finding.message,
            "fix": finding.fix,
            "items": [_shown(result, item.images, item.note, sources) for item in finding.items[:_SHOWN]],
            "more": max(0, len(finding.items) - _SHOWN),
            "with_images": any(item.images for item in finding.items),
        }
        for finding in result.audit.findings
    ]
    write_page(
        path,
        render(
            "check.html.j2",
            title=f"Check of {relative(str(result.config.data.root), Path('/'))}",
            facts=facts(result),
            findings=findings,
            count=len(result.audit.images),
        ),
    )


def _shown(result: CheckResult, numbers: tuple[int, ...], note: str, sources: dict[int, str]) -> Shown:
    images = result.audit.images
    thumbs = tuple(
        Thumb(
            sources[number],
            relative(images.paths[number], result.config.data.root),
            f"{images.class_of(number)}, {images.split_of(number)}",
        )
        for number in numbers[:_OF_A_GROUP]
    )
    return Shown(thumbs, note, len(numbers) - len(thumbs))


def _source(path: str) -> str:
    """A `data:` address of an image, whole, in a square; empty where it cannot be read."""
    try:
        return image(read_face(path, Geometry(_SIDE, fit="pad")))
    except ImageError:
        return ""
