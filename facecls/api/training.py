"""The public API for training: train a classifier, cross-validate."""

import contextlib
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from facecls import checkpoint
from facecls.api.arguments import naming_items
from facecls.api.evaluation import write_report
from facecls.api.process import unchanged_process
from facecls.config.load import config_from
from facecls.config.schema import Config
from facecls.data.python_data import LabelledImages, write_images
from facecls.device import resolve_device
from facecls.errors import DataError
from facecls.evaluation.cross_validation import CrossValidation, evaluate_folds
from facecls.evaluation.tables import write_summary
from facecls.open_set.calibration import warnings_about
from facecls.progress import Reporter, reporter_of
from facecls.report.cross_validation import render_cross_validation
from facecls.report.page import check_page_output, write_page
from facecls.run import EpochMetrics, Run, new_run
from facecls.training import resuming
from facecls.training import train as training
from facecls.training.cross_validation import train_folds
from facecls.training.loop import Callback
from facecls.training.signals import Interrupted

__all__ = ["CrossValidation", "TrainedRun", "cross_validate", "train"]


@dataclass(frozen=True)
class TrainedRun:
    """A finished training."""

    folder: Path  # the run directory, for `load`
    best: EpochMetrics  # metrics of the epoch that was kept; selected on the validation images, so optimistic
    stopped: str  # why training stopped before the last epoch; empty if it did not
    warnings: tuple[str, ...] = ()  # what to know before relying on the classifier, such as that it is not better than chance


def train(
    config: Mapping[str, Any] | Config | str | Path,
    data: LabelledImages | None = None,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: Reporter | bool = False,
) -> TrainedRun | None:
    """Trains a classifier and writes a run directory, as `facecls train` does.

    config: a config file, or its content as a mapping, in which keys may be dotted: `{"data.root": "faces"}`.
    data: labelled images instead of the config's own source: a data frame with the columns path, label and, if needed, split
        and group; or a sequence of (image, label), such as a list or a map-style dataset, whose images are paths, bytes, file
        objects, PIL images or uint8 arrays (H, W, 3). Images are listed in the run directory in data/labels.csv; those that are
        not paths are written to data/images. A resumed run takes them from there.
    out: the run directory; None: a new one below runs/.
    resume: continue the run in `out`, if it has a last.pt.
    callbacks: each is called with the metrics of every epoch; training ends after the epoch if one returns True, or the
        reason as a text, which becomes `TrainedRun.stopped`.
    progress: True prints to stderr and stdout, as the command line does.

    Returns None on ranks above 0 under torchrun. Raises ConfigError, DataError, RunError and other FaceclsErrors with what to
    do in `hint`, and KeyboardInterrupt on Ctrl-C, after saving.
    """
    reporter = reporter_of(progress)
    run = _new_run(config, out)
    settings = _with_data(config, data, run, reporter, resume=resume)

    def report() -> Path:
        return write_report(run.best, progress=reporter).path

    with _interrupts(), unchanged_process(settings.threads), naming_items(run.python_labels):
        result = training.train(settings, run, reporter, resume=resume, callbacks=callbacks, report=report)
    if result is None:
        return None
    warnings = tuple(warnings_about(checkpoint.read(run.best).calibration_for()))
    return TrainedRun(run.folder, result.best, result.stopped, warnings)


def cross_validate(
    config: Mapping[str, Any] | Config | str | Path,
    data: LabelledImages | None = None,
    *,
    folds: int = 5,
    out: str | Path | None = None,
    resume: bool = False,
    progress: Reporter | bool = False,
) -> CrossValidation:
    """Trains without each of `folds` folds of the data in turn and evaluates on it, as `facecls cross-validate` does.

    config, data: as in `train`.
    folds: at least 2.
    out: the directory of the folds, report.html, summary.json and folds.csv; None: a new one below runs/.
    resume: continue the folds in `out`.

    `CrossValidation.to_plain()` has everything as plain values. Raises ValueError for fewer than two folds, and what `train`
    raises.
    """
    if folds < 2:
        raise ValueError(f"a cross-validation has at least two folds, got {folds}")
    run, reporter = _new_run(config, out), reporter_of(progress)
    settings, folder = _with_data(config, data, run, reporter, resume=resume), run.folder
    device = resolve_device(settings.device, settings.precision)
    page = folder / "report.html"
    if page.exists():
        check_page_output(page)  # before hours of training
    with _interrupts(), unchanged_process(settings.threads), naming_items(run.python_labels):
        trained = train_folds(settings, folds, folder, reporter, resume=resume)
        validation = evaluate_folds(trained, device, reporter)
    write_page(page, render_cross_validation(validation, settings, device, folder.resolve().name))
    write_summary(folder, validation)
    return validation


def _new_run(config: Mapping[str, Any] | Config | str | Path, out: str | Path | None) -> Run:
    name = Path(config) if isinstance(config, str | Path) else Path("python.yaml")
    return new_run(None if out is None else Path(out), name)


def _with_data(
    config: Mapping[str, Any] | Config | str | Path, data: LabelledImages | None, run: Run, progress: Reporter, *, resume: bool
) -> Config:
    """The config, with the label file of images given in Python, which is written into the run directory if it is not there."""
    if data is None:
        return config_from(config)
    table = run.python_labels
    settings = config_from(config, {"data.root": str(table.parent), "data.csv": str(table)})
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:  # of torchrun: each process would write the images
        raise DataError("data: images given in Python are for one process", hint="with torchrun use `data.root` or `data.csv`")
    if not resume:
        resuming.require_new(run)
    if not (resume and table.exists()):
        write_images(data, table, progress)
    return settings


@contextlib.contextmanager
def _interrupts() -> Iterator[None]:
    """In a `with`: Ctrl-C, after which training has saved, raises KeyboardInterrupt as elsewhere in Python."""
    try:
        yield
    except Interrupted as error:
        if error.signal == signal.SIGINT:
            raise KeyboardInterrupt from error
        raise
