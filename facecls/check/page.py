"""A check as one HTML file, with a small picture of everything that was found; pairs stand side by side."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from facecls.check.check import Inspection, facts, relative
from facecls.data.stores.worker import cores
from facecls.errors import ImageError
from facecls.faces.geometry import Geometry, read_face
from facecls.report.page import picture, render, write_page

_SIDE = 112  # pixels of a thumbnail
_SHOWN = 100  # items of a finding that the page shows
_OF_A_GROUP = 8  # pictures of one item


@dataclass(frozen=True)
class Thumb:
    """A picture with what it is; `source` is empty where it cannot be read."""

    source: str
    path: str
    words: str


@dataclass(frozen=True)
class Shown:
    """An item of a finding as the page has it."""

    thumbs: tuple[Thumb, ...]
    note: str
    more: int


def write_html(path: Path, inspection: Inspection) -> None:
    """Writes the page; raises RunError where it cannot be written."""
    numbers = sorted(
        {
            number
            for finding in inspection.audit.findings
            for item in finding.items[:_SHOWN]
            for number in item.pictures[:_OF_A_GROUP]
        }
    )
    with ThreadPoolExecutor(cores()) as pool:
        sources = dict(
            zip(numbers, pool.map(lambda number: _source(inspection.audit.pictures.paths[number]), numbers), strict=True)
        )
    findings = [
        {
            "kind": finding.kind,
            "grave": finding.grave,
            "message": finding.message,
            "fix": finding.fix,
            "items": [_shown(inspection, item.pictures, item.note, sources) for item in finding.items[:_SHOWN]],
            "more": max(0, len(finding.items) - _SHOWN),
            "with_pictures": any(item.pictures for item in finding.items),
        }
        for finding in inspection.audit.findings
    ]
    write_page(
        path,
        render(
            "check.html.j2",
            title=f"Check of {relative(str(inspection.config.data.root), Path('/'))}",
            facts=facts(inspection),
            findings=findings,
            count=len(inspection.audit.pictures),
        ),
    )


def _shown(inspection: Inspection, numbers: tuple[int, ...], note: str, sources: dict[int, str]) -> Shown:
    pictures = inspection.audit.pictures
    thumbs = tuple(
        Thumb(
            sources[number],
            relative(pictures.paths[number], inspection.config.data.root),
            f"{pictures.class_of(number)}, {pictures.part_of(number)}",
        )
        for number in numbers[:_OF_A_GROUP]
    )
    return Shown(thumbs, note, len(numbers) - len(thumbs))


def _source(path: str) -> str:
    """A `data:` address of a picture, whole, in a square; empty where it cannot be read."""
    try:
        return picture(read_face(path, Geometry(_SIDE, fit="pad")))
    except ImageError:
        return ""
