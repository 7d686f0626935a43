"""`facecls check`: what a training would begin with, what it would cost, and what is wrong with its data."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from facecls.check.audit import Audit, audit
from facecls.check.dry_run import Rehearsal, rehearse
from facecls.check.findings import Finding, Item
from facecls.config.schema import Config, TrainConfig, settled
from facecls.data.dataset import Found, Listing, find_parts
from facecls.data.listing import part_folders
from facecls.data.sampler import steps_of
from facecls.device import Compute, pick_compute
from facecls.errors import DataError
from facecls.progress import Progress
from facecls.text import printable
from facecls.training.calibrate import refuse_a_class_unknown


@dataclass(frozen=True)
class Inspection:
    """All that a check has found out; `rehearsal` is missing where no batch could be had."""

    config: Config
    found: Found
    rehearsal: Rehearsal | None
    audit: Audit

    @property
    def grave(self) -> list[Finding]:
        """The findings that make a training fail, or its figures untrue."""
        return [finding for finding in self.audit.findings if finding.grave]

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON; pictures by their path, class and part."""
        pictures = self.audit.pictures
        return {
            "root": str(self.config.data.root),
            "classes": list(self.found.classes),
            "parts": {name: len(listing.labels) for name, listing in self.found.parts.items()},
            "notes": self.found.notes,
            "rehearsal": None if self.rehearsal is None else asdict(self.rehearsal),
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
                            "pictures": [
                                {"path": pictures.paths[n], "class": pictures.class_of(n), "split": pictures.part_of(n)}
                                for n in item.pictures
                            ],
                        }
                        for item in finding.items
                    ],
                }
                for finding in self.audit.findings
            ],
        }


def check(config: Config, progress: Progress) -> Inspection:
    """Looks at everything; changes nothing.

    What keeps a training from beginning, but not this from going on, becomes a grave finding: classes that cannot be split,
    a first batch that cannot be read, a loss that is no number. Raises FaceclsError for the rest.
    """
    config = settled(config)
    compute = pick_compute(config.device, config.precision)
    found, findings = _found(config, progress)
    try:
        refuse_a_class_unknown(config, found.classes)
    except DataError as error:
        findings.append(_refusal("unknown", error))
    rehearsal = _rehearsed(config, found, compute, progress, findings)
    audited = audit(found, config.data, progress.bar, config.data.cache_dir)
    return Inspection(config, found, rehearsal, replace(audited, findings=(*findings, *audited.findings)))


def _found(config: Config, progress: Progress) -> tuple[Found, list[Finding]]:
    """The parts as a training would have them; where they cannot be had, all pictures as `train`, and why."""
    try:
        return find_parts(config.data, config.split, progress.bar), []
    except DataError as error:
        if config.data.split_file is not None:
            raise
        from facecls.data.folder import FaceFolder

        whole = FaceFolder(part_folders(config.data.root).get("train", config.data.root))
        found = Found(tuple(whole.classes), {"train": Listing(whole.paths, whole.labels)})
        return found, [_refusal("no split", error)]


def _rehearsed(config: Config, found: Found, compute: Compute, progress: Progress, findings: list[Finding]) -> Rehearsal | None:
    """What one batch shows; what is wrong with it goes to `findings`."""
    if len(found.classes) < 2:
        return None
    try:
        rehearsal = rehearse(config, found, compute, progress)
    except DataError as error:
        findings.append(_refusal("no batch", error))
        return None
    if not rehearsal.finite:
        findings.append(
            Finding(
                "loss",
                True,
                f"the loss of the first batch is {rehearsal.loss}",
                "try --set precision=fp32, and look at the settings of head and loss",
            )
        )
    return rehearsal


def _refusal(kind: str, error: DataError) -> Finding:
    items = tuple(Item((), problem) for problem in error.problems)
    return Finding(kind, True, "a training could not begin: " + error.problems[0], error.hint or "see the list", items)


def relative(path: str, root: Path) -> str:
    """A picture's path below the data's root, in characters that can be printed."""
    return printable(path.removeprefix(f"{root}/"))


def seconds(number: float) -> str:
    """`0.31 s`, `42 s`, `3.5 min`, `2.1 h`."""
    if number < 120:
        return f"{number:.2g} s" if number < 10 else f"{number:.0f} s"
    return f"{number / 60:.1f} min" if number < 7200 else f"{number / 3600:.1f} h"


def amount(number: float) -> str:
    """`4.2 MB`, `1.3 GB`."""
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.1f} MB"


def facts(inspection: Inspection) -> list[tuple[str, str]]:
    """What stands above the findings: (name, words)."""
    config, found, rehearsal = inspection.config, inspection.found, inspection.rehearsal
    counts = np.array([len(listing.labels) for listing in found.parts.values()])
    parts = ", ".join(f"{count:,} {name}" for name, count in zip(found.parts, counts.tolist(), strict=True))
    train = config.train
    rows = [
        ("data", f"{counts.sum():,} pictures of {len(found.classes)} classes in {config.data.root}: {parts}"),
        (
            "config",
            f"{config.model.name}, {config.head.name} head, {train.epochs} epochs, "
            f"{_step_size(found, train)} faces a step, {config.data.image_size} pixels",
        ),
    ]
    if rehearsal is None:
        return rows
    start, last = min(rehearsal.step_seconds), max(rehearsal.step_seconds)
    first = f" ({seconds(rehearsal.step_seconds[start])} at {start} pixels)" if start < last else ""
    limit = "" if train.max_minutes is None else f"; train.max_minutes ends it after {train.max_minutes:g} min"
    where = "on the GPU" if rehearsal.device.startswith("cuda") else "in this process, with one batch"
    peak = "" if rehearsal.peak_bytes is None else f"{amount(rehearsal.peak_bytes)} at most {where}; "
    store = f"store `{rehearsal.store}`" + (f": {rehearsal.store_why}" if rehearsal.store_why else "")
    return [
        *rows,
        ("model", f"{rehearsal.parameters:,} parameters, {rehearsal.multiply_adds / 1e6:,.0f} million multiply-adds a picture"),
        (
            "one batch",
            f"{rehearsal.faces} faces forward and backward: loss {rehearsal.loss:.3f}, "
            f"{seconds(rehearsal.step_seconds[last])} a step{first}; {rehearsal.device}, {_many(rehearsal.threads, 'thread')}",
        ),
        (
            "time",
            f"about {seconds(rehearsal.epoch_seconds)} an epoch of {_many(rehearsal.steps, 'step')}, with scoring; about "
            f"{seconds(rehearsal.training_seconds)} for all {train.epochs}{limit}; reading the faces before, "
            f"{seconds(rehearsal.reading_seconds)}",
        ),
        ("memory", f"{peak}all decoded faces take {amount(rehearsal.faces_bytes)} more ({store})"),
    ]


def _step_size(found: Found, train: TrainConfig) -> str:
    """`64`, or `63 or 64` where not all steps are of one size."""
    faces = len(found.parts["train"].labels)
    smaller, larger = divmod(faces, steps_of(faces, train.batch_size * train.accumulate))
    return f"{smaller} or {smaller + 1}" if larger else f"{smaller}"


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}{'' if count == 1 else 's'}"
