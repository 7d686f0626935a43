"""What is wrong with this data set: every finding with its pictures and what to do about it; nothing is changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecls.check.classes import few_pictures, imbalance, numeric_names, similar_names
from facecls.check.copies import copies
from facecls.check.findings import Finding, Item, Pictures
from facecls.check.images import black, blurred, colour_and_grey, flat, oblong, tiny, unreadable
from facecls.check.shortcut import shortcut
from facecls.checkpoint import Checkpoint
from facecls.config.schema import DataConfig
from facecls.data.dataset import Found, find_parts
from facecls.data.duplicates.image_stats import look_at_all
from facecls.data.listing import part_folders
from facecls.errors import DataError
from facecls.progress import Progress, ProgressBar
from facecls.report.report import Told

Check = Callable[[Pictures], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    unreadable,
    similar_names,
    copies,
    few_pictures,
    imbalance,
    numeric_names,
    black,
    flat,
    blurred,
    oblong,
    colour_and_grey,
    shortcut,
)


_EXAMPLES = 3  # of a finding
_EXAMPLE_IMAGES = 4  # that one of them names


@dataclass(frozen=True)
class Audit:
    """The pictures that were looked at and what was found, the grave findings first."""

    pictures: Pictures
    findings: tuple[Finding, ...]

    @property
    def grave(self) -> bool:
        """Whether a finding is grave."""
        return any(finding.grave for finding in self.findings)


def audit(found: Found, data: DataConfig, progress: ProgressBar | None = None, cache_dir: Path | None = None) -> Audit:
    """Looks at every picture of every part.

    What a look tells is kept per file (path, size, time of change) in `cache_dir` (None: the user's cache folder), so that
    the second audit of a data set takes a fraction of the first one's time.
    """
    paths = [path for listing in found.parts.values() for path in listing.paths]
    pictures = Pictures(
        root=data.root,
        paths=paths,
        labels=np.concatenate([listing.labels for listing in found.parts.values()]),
        parts=np.repeat(np.arange(len(found.parts), dtype=np.int32), [len(each.labels) for each in found.parts.values()]),
        part_names=tuple(found.parts),
        parts_are_folders=bool(part_folders(data.root)),
        classes=found.classes,
        looks=look_at_all(paths, progress, cache_dir),
    )
    findings = [finding for check in CHECKS for finding in check(pictures)]
    findings += tiny(pictures, data)
    return Audit(pictures, tuple(sorted(findings, key=lambda finding: not finding.grave)))


def findings(checkpoint: Checkpoint, data: DataConfig, progress: Progress) -> list[Told] | None:
    """What is wrong with the data that a run was trained on; None where that data is no longer there."""
    data = data.model_copy(update={"on_bad_image": "skip"})  # as scoring does
    try:
        found = find_parts(data, checkpoint.config.split, progress.bar)
    except DataError:
        return None
    audited = audit(found, data, progress.bar, data.cache_dir)
    pictures = audited.pictures
    return [
        Told(
            finding.kind,
            finding.grave,
            finding.message,
            finding.fix,
            tuple(_words(pictures, item) for item in finding.items[:_EXAMPLES]),
            max(0, len(finding.items) - _EXAMPLES),
        )
        for finding in audited.findings
    ]


def _words(pictures: Pictures, item: Item) -> str:
    paths = [pictures.paths[number].removeprefix(f"{pictures.root}/") for number in item.pictures[:_EXAMPLE_IMAGES]]
    return ", ".join([*paths, item.note] if item.note else paths)
