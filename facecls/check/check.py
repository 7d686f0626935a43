"""`facecls check`: validates config and data, dry-runs one batch, and audits the images."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from facecls.check.audit import Audit, audit, splits_of
from facecls.check.dry_run import DryRun, dry_run_batch
from facecls.check.findings import Finding, Item
from facecls.config.schema import Config, TrainConfig, resolve_config
from facecls.data.dataset import DatasetIndex, index_dataset
from facecls.data.listing import split_folders
from facecls.data.load import geometry_of, store_of
from facecls.data.sampler import steps_per_epoch
from facecls.data.stores.disk import require_disk_space
from facecls.device import Device, resolve_device
from facecls.errors import DataError, FaceclsError, RunError
from facecls.progress import Reporter
from facecls.text import byte_size, duration, plural
from facecls.training.calibrate import check_class_names, load_impostors
from facecls.training.trackers import TRACKERS
from facecls.training.train import require_cuda


@dataclass(frozen=True)
class CheckResult:
    """The result of a check; `dry_run` is None if no batch could be made."""

    config: Config
    dataset: DatasetIndex
    dry_run: DryRun | None
    audit: Audit

    @property
    def findings(self) -> tuple[Finding, ...]:
        """The problems that were found."""
        return self.audit.findings

    @property
    def errors(self) -> list[Finding]:
        """The findings of severity `error`."""
        return [finding for finding in self.findings if finding.severity == "error"]

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON; an image is its path, class and split."""
        images = self.audit.images
        return {
            "root": str(self.config.data.root),
            "classes": list(self.dataset.classes),
            "splits": {name: len(image_list.labels) for name, image_list in self.dataset.splits.items()},
            "notes": self.dataset.notes,
            "dry_run": None if self.dry_run is None else asdict(self.dry_run),
            "errors": len(self.errors),
            "findings": [
                asdict(finding)
                | {"items": [{"note": item.note, "images": [images.row(n) for n in item.images]} for item in finding.items]}
                for finding in self.findings
            ],
        }


def check_config(config: Config, progress: Reporter) -> CheckResult:
    """Checks config, data, model and one batch; changes nothing.

    Some problems that stop training become findings of severity `error`, so that the rest is still checked: classes that
    cannot be split, a class with the name of rejected images, too few images of unknown people, a store that is too small,
    a tracker that is not installed, `sync_batchnorm` without CUDA, a disk that is too small for the run, a first batch that
    cannot be read, and a non-finite loss. Raises FaceclsError for other problems.
    """
    config = resolve_config(config)
    device = resolve_device(config.device, config.precision)
    dataset, findings = _index_dataset(config, progress)
    findings += _refusals(config, dataset, device, progress)
    dry_run = _dry_run(config, dataset, device, progress, findings)
    audited = audit(dataset, config.data, splits_of(config.data, config.split), progress.bar, config.data.cache_dir)
    return CheckResult(config, dataset, dry_run, replace(audited, findings=(*findings, *audited.findings)))


def _refusals(config: Config, dataset: DatasetIndex, device: Device, progress: Reporter) -> list[Finding]:
    """A finding for each check of training that fails."""
    target = device.torch_device
    geometry = geometry_of(config.data)
    checks: list[tuple[str, Callable[[], object]]] = [
        ("class names", partial(check_class_names, config, dataset.classes)),
        ("unknown", partial(load_impostors, config.unknown, config.data, progress, target)),
        ("tracker", TRACKERS[config.train.tracker]),
        *((("sync_batchnorm", partial(require_cuda, device)),) if config.train.sync_batchnorm else ()),
        *(
            ("store", partial(store_of, name, len(dataset.splits[name]), config.data, target))
            for name in ("train", "val")
            if name in dataset.splits
        ),
        *(
            (
                "store",
                partial(require_disk_space, dataset.splits[name].paths, geometry, config.data.root, config.data.cache_dir),
            )
            for name in ("train", "val")
            if name in dataset.splits and config.data.store == "disk"
        ),
    ]
    findings = []
    for kind, check in checks:
        try:
            check()
        except FaceclsError as error:
            findings.append(_error_finding(kind, error))
    return findings


def _index_dataset(config: Config, progress: Reporter) -> tuple[DatasetIndex, list[Finding]]:
    """The splits as in training; if the data cannot be split, all images as `train` and a finding with the reason."""
    try:
        return index_dataset(config.data, config.split, progress.bar), []
    except DataError as error:
        if config.data.split_file is not None or config.data.csv is not None:
            raise
        from facecls.data.folder import FaceFolder

        folder = FaceFolder(split_folders(config.data.root).get("train", config.data.root))
        dataset = DatasetIndex(tuple(folder.classes), {"train": folder.image_list})
        return dataset, [_error_finding("no split", error)]


def _dry_run(
    config: Config, dataset: DatasetIndex, device: Device, progress: Reporter, findings: list[Finding]
) -> DryRun | None:
    """Dry-runs one batch; appends problems to `findings`."""
    if len(dataset.classes) < 2:
        return None
    try:
        dry_run = dry_run_batch(config, dataset, device, progress)
    except (DataError, RunError) as error:
        findings.append(_error_finding("disk" if isinstance(error, RunError) else "no batch", error))
        return None
    if not np.isfinite(dry_run.loss):
        message = f"the loss of the first batch is {dry_run.loss}"
        findings.append(Finding("loss", "error", message, "try --set precision=fp32, and check the head and loss settings"))
    return dry_run


def _error_finding(kind: str, error: FaceclsError) -> Finding:
    items = tuple(Item((), problem) for problem in error.problems[1:])
    return Finding(kind, "error", "training cannot start: " + error.problems[0], error.hint or "see the list", items)


def summary_rows(result: CheckResult) -> list[tuple[str, str]]:
    """The summary shown above the findings: (name, text)."""
    config, dataset, dry_run = result.config, result.dataset, result.dry_run
    counts = {name: len(image_list.labels) for name, image_list in dataset.splits.items()}
    splits = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    train = config.train
    rows = [
        ("data", f"{sum(counts.values()):,} images of {len(dataset.classes)} classes in {config.data.root}: {splits}"),
        (
            "config",
            f"{config.model.name}, {config.head.name} head, {plural(train.epochs, 'epoch')}, "
            f"{_images_per_step(counts['train'], train)} images per step, {config.data.image_size} pixels",
        ),
    ]
    detections = result.audit.images.detections
    if detections is not None:
        one, several, none = detections.one_several_none()
        rows.append(("faces", f"one in {plural(one, 'image')}, several in {several:,}, none in {none:,}"))
    if dry_run is None:
        return rows
    start, last = min(dry_run.step_seconds), max(dry_run.step_seconds)
    first = f" ({duration(dry_run.step_seconds[start])} at {start} pixels)" if start < last else ""
    limit = "" if train.max_minutes is None else f", at most {train.max_minutes:g} min (train.max_minutes)"
    where = "on the GPU" if dry_run.device.startswith("cuda") else "in this process"
    peak = "" if dry_run.peak_bytes is None else f"peak {byte_size(dry_run.peak_bytes)} {where}, with one batch; "
    store = f"store `{dry_run.store}`" + (f": {dry_run.store_why}" if dry_run.store_why else "")
    return [
        *rows,
        ("model", f"{dry_run.parameters:,} parameters, {dry_run.multiply_adds / 1e6:,.0f} million multiply-adds per image"),
        (
            "one batch",
            f"forward and backward on {plural(dry_run.faces, 'image')}: loss {dry_run.loss:.3f}, "
            f"{duration(dry_run.step_seconds[last])} per step{first}; {dry_run.device}, {plural(dry_run.threads, 'thread')}",
        ),
        (
            "time",
            f"about {duration(dry_run.epoch_seconds)} per epoch of {plural(dry_run.steps, 'step')}, with validation; about "
            f"{duration(dry_run.training_seconds)} for {plural(train.epochs, 'epoch')}{limit}; "
            f"decoding all images once takes {duration(dry_run.reading_seconds)}",
        ),
        ("memory", f"{peak}{byte_size(dry_run.faces_bytes)} for all decoded images ({store})"),
    ]


def _images_per_step(images: int, train: TrainConfig) -> str:
    """`64`, or `63 or 64` if the steps of an epoch differ in size."""
    smaller, larger = divmod(images, steps_per_epoch(images, train.batch_size * train.accumulate))
    return f"{smaller} or {smaller + 1}" if larger else f"{smaller}"
