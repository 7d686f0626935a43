"""What is wrong with this data set: every finding with its images and what to do about it; nothing is changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecls.check.classes import few_images, imbalance, numeric_names, similar_names
from facecls.check.copies import copies
from facecls.check.findings import AuditedImages, Finding, Item
from facecls.check.images import black, blurred, colour_and_grey, flat, oblong, tiny, unreadable
from facecls.check.shortcut import shortcut
from facecls.checkpoint import Checkpoint
from facecls.config.schema import DataConfig
from facecls.data.dataset import DatasetIndex, index_dataset
from facecls.data.duplicates.image_stats import compute_image_stats
from facecls.data.listing import split_folders
from facecls.errors import DataError
from facecls.progress import Progress, ProgressBar
from facecls.report.report import FindingSummary

Check = Callable[[AuditedImages], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    unreadable,
    similar_names,
    copies,
    few_images,
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
    """The images that were looked at and what was found, the grave findings first."""

    images: AuditedImages
    findings: tuple[Finding, ...]

    @property
    def grave(self) -> bool:
        """Whether a finding is grave."""
        return any(finding.grave for finding in self.findings)


def audit(found: DatasetIndex, data: DataConfig, progress: ProgressBar | None = None, cache_dir: Path | None = None) -> Audit:
    """Looks at every image of every part.

    What a look tells is kept per file (path, size, time of change) in `cache_dir` (None: the user's cache folder), so that
    the second audit of a data set takes a fraction of the first one's time.
    """
    paths = [path for image_list in found.splits.values() for path in image_list.paths]
    images = AuditedImages(
        root=data.root,
        paths=paths,
        labels=np.concatenate([image_list.labels for image_list in found.splits.values()]),
        splits=np.repeat(np.arange(len(found.splits), dtype=np.int32), [len(each.labels) for each in found.splits.values()]),
        split_names=tuple(found.splits),
        splits_are_folders=bool(split_folders(data.root)),
        classes=found.classes,
        stats=compute_image_stats(paths, progress, cache_dir),
    )
    findings = [finding for check in CHECKS for finding in check(images)]
    findings += tiny(images, data)
    return Audit(images, tuple(sorted(findings, key=lambda finding: not finding.grave)))


def findings(checkpoint: Checkpoint, data: DataConfig, progress: Progress) -> list[FindingSummary] | None:
    """What is wrong with the data that a run was trained on; None where that data is no longer there."""
    data = data.model_copy(update={"on_bad_image": "skip"})  # as scoring does
    try:
        found = index_dataset(data, checkpoint.config.split, progress.bar)
    except DataError:
        return None
    audited = audit(found, data, progress.bar, data.cache_dir)
    images = audited.images
    return [
        FindingSummary(
            finding.kind,
            finding.grave,
            finding.message,
            finding.fix,
            tuple(_words(images, item) for item in finding.items[:_EXAMPLES]),
            max(0, len(finding.items) - _EXAMPLES),
        )
        for finding in audited.findings
    ]


def _words(images: AuditedImages, item: Item) -> str:
    paths = [images.paths[number].removeprefix(f"{images.root}/") for number in item.images[:_EXAMPLE_IMAGES]]
    return ", ".join([*paths, item.note] if item.note else paths)
