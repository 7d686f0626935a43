"""`facecls check`: what a training would begin with, what it would cost, and what is wrong with its data."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facecls.check.audit import Audit, audit
from facecls.check.dry_run import DryRun, dry_run_batch
from facecls.check.findings import Finding, Item
from facecls.config.schema import Config, TrainConfig, resolve_config
from facecls.data.dataset import DatasetIndex, index_dataset
from facecls.data.listing import split_folders
from facecls.data.sampler import steps_per_epoch
from facecls.device import Device, resolve_device
from facecls.errors import DataError
from facecls.progress import Progress
from facecls.text import printable
from facecls.training.calibrate import check_class_names


@dataclass(frozen=True)
class CheckResult:
    """All that a check has found out; `rehearsal` is missing where no batch could be had."""

    config: Config
    dataset: DatasetIndex
    dry_run: DryRun | None
    audit: Audit

    @property
    def grave(self) -> list[Finding]:
        """The findings that make a training fail, or its figures untrue."""
        return [finding for finding in self.audit.findings if finding.grave]

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON; images by their path, class and part."""
        images = self.audit.images
        return {
            "root": str(self.config.data.root),
            "classes": list(self.dataset.classes),
            "parts": {name: len(image_list.labels) for name, image_list in self.dataset.splits.items()},
            "notes": self.dataset.notes,
            "rehearsal": None if self.dry_run is None else asdict(self.dry_run),
            "grave": len(self.grave),
            "findings": [
                {
                    "kind": finding.kind,
                    "grave": finding.grave,
                    "message": finding.message,
                    "fix": finding.fix,
                    "items": [
                        {
                            "note": item.note,
                            "images": [
                                {"path": images.paths[n], "class": images.class_of(n), "split": images.split_of(n)}
                                for n in item.images
                            ],
                        }
                        for item in finding.items
                    ],
                }
                for finding in self.audit.findings
            ],
        }


def check(config: Config, progress: Progress) -> CheckResult:
    """Looks at everything; changes nothing.

    What keeps a training from beginning, but not this from going on, becomes a grave finding: classes that cannot be split,
    a first batch that cannot be read, a loss that is no number. Raises FaceclsError for the rest.
    """
    config = resolve_config(config)
    device = resolve_device(config.device, config.precision)
    dataset, findings = _found(config, progress)
    try:
        check_class_names(config, dataset.classes)
    except DataError as error:
        findings.append(_refusal("unknown", error))
    dry_run = _dry_run(config, dataset, device, progress, findings)
    audited = audit(dataset, config.data, progress.bar, config.data.cache_dir)
    return CheckResult(config, dataset, dry_run, replace(audited, findings=(*findings, *audited.findings)))


def _found(config: Config, progress: Progress) -> tuple[DatasetIndex, list[Finding]]:
    """The parts as a training would have them; where they cannot be had, all images as `train`, and why."""
    try:
        return index_dataset(config.data, config.split, progress.bar), []
    except DataError as error:
        if config.data.split_file is not None:
            raise
        from facecls.data.folder import FaceFolder

        whole = FaceFolder(split_folders(config.data.root).get("train", config.data.root))
        dataset = DatasetIndex(tuple(whole.classes), {"train": whole.image_list})
        return dataset, [_refusal("no split", error)]


def _dry_run(
    config: Config, dataset: DatasetIndex, device: Device, progress: Progress, findings: list[Finding]
) -> DryRun | None:
    """What one batch shows; what is wrong with it goes to `findings`."""
    if len(dataset.classes) < 2:
        return None
    try:
        dry_run = dry_run_batch(config, dataset, device, progress)
    except DataError as error:
        findings.append(_refusal("no batch", error))
        return None
    if not dry_run.finite:
        findings.append(
            Finding(
                "loss",
                True,
                f"the loss of the first batch is {dry_run.loss}",
                "try --set precision=fp32, and look at the settings of head and loss",
            )
        )
    return dry_run


def _refusal(kind: str, error: DataError) -> Finding:
    items = tuple(Item((), problem) for problem in error.problems)
    return Finding(kind, True, "a training could not begin: " + error.problems[0], error.hint or "see the list", items)


def relative(path: str, root: Path) -> str:
    """An image's path below the data's root, in characters that can be printed."""
    return printable(path.removeprefix(f"{root}/"))


def seconds(number: float) -> str:
    """`0.31 s`, `42 s`, `3.5 min`, `2.1 h`."""
    if number < 120:
        return f"{number:.2g} s" if number < 10 else f"{number:.0f} s"
    return f"{number / 60:.1f} min" if number < 7200 else f"{number / 3600:.1f} h"


def amount(number: float) -> str:
    """`4.2 MB`, `1.3 GB`."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def facts(result: CheckResult) -> list[tuple[str, str]]:
    """What stands above the findings: (name, words)."""
    config, dataset, dry_run = result.config, result.dataset, result.dry_run
    counts = np.array([len(image_list.labels) for image_list in dataset.splits.values()])
    splits = ", ".join(f"{count:,} {name}" for name, count in zip(dataset.splits, counts.tolist(), strict=True))
    train = config.train
    rows = [
        ("data", f"{counts.sum():,} images of {len(dataset.classes)} classes in {config.data.root}: {splits}"),
        (
            "config",
            f"{config.model.name}, {config.head.name} head, {train.epochs} epochs, "
            f"{_step_size(dataset, train)} faces a step, {config.data.image_size} pixels",
        ),
    ]
    if dry_run is None:
        return rows
    start, last = min(dry_run.step_seconds), max(dry_run.step_seconds)
    first = f" ({seconds(dry_run.step_seconds[start])} at {start} pixels)" if start < last else ""
    limit = "" if train.max_minutes is None else f"; train.max_minutes ends it after {train.max_minutes:g} min"
    where = "on the GPU" if dry_run.device.startswith("cuda") else "in this process, with one batch"
    peak = "" if dry_run.peak_bytes is None else f"{amount(dry_run.peak_bytes)} at most {where}; "
    store = f"store `{dry_run.store}`" + (f": {dry_run.store_why}" if dry_run.store_why else "")
    return [
        *rows,
        ("model", f"{dry_run.parameters:,} parameters, {dry_run.multiply_adds / 1e6:,.0f} million multiply-adds an image"),
        (
            "one batch",
            f"{dry_run.faces} faces forward and backward: loss {dry_run.loss:.3f}, "
            f"{seconds(dry_run.step_seconds[last])} a step{first}; {dry_run.device}, {_many(dry_run.threads, 'thread')}",
        ),
        (
            "time",
            f"about {seconds(dry_run.epoch_seconds)} an epoch of {_many(dry_run.steps, 'step')}, with scoring; about "
            f"{seconds(dry_run.training_seconds)} for all {train.epochs}{limit}; reading the faces before, "
            f"{seconds(dry_run.reading_seconds)}",
        ),
        ("memory", f"{peak}all decoded faces take {amount(dry_run.faces_bytes)} more ({store})"),
    ]


def _step_size(dataset: DatasetIndex, train: TrainConfig) -> str:
    """`64`, or `63 or 64` where not all steps are of one size."""
    faces = len(dataset.splits["train"].labels)
    smaller, larger = divmod(faces, steps_per_epoch(faces, train.batch_size * train.accumulate))
    return f"{smaller} or {smaller + 1}" if larger else f"{smaller}"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
