"""What is wrong with this data set: every finding with its pictures and what to do about it; nothing is changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecls.config import DataConfig
from facecls.data.audit_classes import few_pictures, imbalance, numeric_names, similar_names
from facecls.data.audit_copies import copies
from facecls.data.audit_pictures import black, blurred, colour_and_grey, flat, oblong, tiny, unreadable
from facecls.data.audit_shortcut import shortcut
from facecls.data.finding import Finding, Pictures
from facecls.data.folder import part_folders
from facecls.data.looks import Progress, look_at_all
from facecls.data.parts import Found

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


@dataclass(frozen=True)
class Audit:
    """The pictures that were looked at and what was found, the grave findings first."""

    pictures: Pictures
    findings: tuple[Finding, ...]

    @property
    def grave(self) -> bool:
        """Whether a finding is grave."""
        return any(finding.grave for finding in self.findings)


def audit(found: Found, data: DataConfig, progress: Progress | None = None, cache_dir: Path | None = None) -> Audit:
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
