"""Audit of a data set: all findings, with the images concerned and a suggested fix; nothing is changed."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from facecls.check.classes import few_images, imbalance, numeric_names, similar_names
from facecls.check.copies import copies
from facecls.check.faces import THUMBNAILS, check_faces
from facecls.check.findings import SEVERITIES, AuditedImages, Finding, SplitsFrom
from facecls.check.images import black, blurred, colour_and_grey, flat, oblong, tiny, unreadable
from facecls.check.shortcut import shortcut
from facecls.check.thumbnails import thumbnail_geometry, thumbnail_url
from facecls.checkpoint import Checkpoint
from facecls.config.schema import DataConfig, SplitConfig
from facecls.data.dataset import DatasetIndex, index_dataset
from facecls.data.detections import detect_all
from facecls.data.duplicates.image_stats import compute_image_stats
from facecls.data.listing import has_train_folder
from facecls.data.load import geometry_of
from facecls.errors import DataError
from facecls.progress import ProgressBar, Reporter, no_progress
from facecls.report.report import FindingSummary

CHECKS: tuple[Callable[[AuditedImages], Iterator[Finding]], ...] = (
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

_SUMMARY_ITEMS = 3  # items shown in a finding's summary
_SUMMARY_THUMBNAILS = 12  # of each finding about faces


@dataclass(frozen=True)
class Audit:
    """The audited images and the findings, most severe first."""

    images: AuditedImages
    findings: tuple[Finding, ...]


def audit(
    dataset: DatasetIndex,
    data: DataConfig,
    splits_from: SplitsFrom,
    progress: ProgressBar | None = None,
    cache_dir: Path | None = None,
) -> Audit:
    """Runs all checks on the images of all splits.

    Image statistics and detected faces are cached by path, size and modification time in `cache_dir` (None: the user's cache
    directory), which makes a second audit of the same files much faster. Raises InstallError and ModelError as
    `build_detector` does, with `data.faces: detect`.
    """
    image_lists = dataset.splits.values()
    paths = [path for image_list in image_lists for path in image_list.paths]
    sizes = [len(image_list.labels) for image_list in image_lists]
    detection = geometry_of(data).detection
    images = AuditedImages(
        root=data.root,
        paths=paths,
        labels=np.concatenate([image_list.labels for image_list in image_lists]),
        splits=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
        split_names=tuple(dataset.splits),
        splits_from=splits_from,
        classes=dataset.classes,
        stats=compute_image_stats(paths, progress, cache_dir),
        detections=None
        if detection is None
        else detect_all(paths, detection, progress or no_progress, "finding faces", cache_dir),
    )
    findings = [finding for check in CHECKS for finding in check(images)]
    findings += [*tiny(images, data), *check_faces(images, data, cache_dir)]
    return Audit(images, tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))))


def splits_of(data: DataConfig, split: SplitConfig) -> SplitsFrom:
    """Where the splits of a config come from."""
    if data.split_file is not None:
        return "file"
    if data.csv is None and has_train_folder(data.root):
        return "folders"
    return "groups" if split.group == "near_duplicates" else "images"


def audit_run(checkpoint: Checkpoint, data: DataConfig, progress: Reporter) -> list[FindingSummary] | None:
    """Audits the data that a run was trained on; None if the data is no longer there."""
    data = data.model_copy(update={"on_bad_image": "skip"})  # as evaluation does
    try:
        dataset = index_dataset(data, checkpoint.config.split, progress.bar)
    except DataError:
        return None
    result = audit(dataset, data, splits_of(checkpoint.config.data, checkpoint.config.split), progress.bar, data.cache_dir)
    return [_summary(finding, result.images, data) for finding in result.findings]


def _summary(finding: Finding, images: AuditedImages, data: DataConfig) -> FindingSummary:
    thumbnails = _thumbnails(finding, images, data)
    shown = len(thumbnails) or _SUMMARY_ITEMS
    examples = tuple(images.item_text(item) for item in finding.items[:shown])
    more = max(0, len(finding.items) - shown)
    return FindingSummary(finding.kind, finding.severity, finding.message, finding.fix, examples, more, thumbnails)


def _thumbnails(finding: Finding, images: AuditedImages, data: DataConfig) -> tuple[tuple[str, str], ...]:
    """Thumbnails of the first images of a finding about faces."""
    kind = THUMBNAILS.get(finding.kind)
    if kind is None:
        return ()
    shown = [item.images[0] for item in finding.items[:_SUMMARY_THUMBNAILS] if item.images]
    urls = [(thumbnail_url(images, index, kind, thumbnail_geometry(data)), images.path_of(index)) for index in shown]
    return tuple(pair for pair in urls if pair[0])
