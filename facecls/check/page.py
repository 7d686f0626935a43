"""A check as one HTML file, with a thumbnail of every image concerned; the images of one item are side by side."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from facecls.check.check import CheckResult, summary_rows
from facecls.check.faces import THUMBNAILS
from facecls.check.findings import Finding
from facecls.check.thumbnails import thumbnail_geometry, thumbnail_url
from facecls.device import available_cores
from facecls.report.page import render, write_page
from facecls.text import printable

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
    geometry = thumbnail_geometry(result.config.data)
    with ThreadPoolExecutor(available_cores()) as pool:
        urls = dict(zip(shown, pool.map(lambda key: thumbnail_url(images, key[0], key[1], geometry), shown), strict=True))
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
