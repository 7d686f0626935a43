"""The public Python API: load a classifier, train one, evaluate one. docs/python.md shows it.

Nothing of the process changes by using it: thread count, allocator, warning filters, signal handlers and the state of torch's
random generators are afterwards what they were.
"""

import contextlib
import signal
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from facecls import checkpoint
from facecls.config.load import config_of, load_config
from facecls.config.schema import Config
from facecls.device import resolve_inference_device
from facecls.evaluation.evaluate import Evaluation, evaluate_checkpoint
from facecls.evaluation.infer import flip_allowed
from facecls.inference.classifier import Classifier, Prediction
from facecls.open_set.calibration import warnings_about
from facecls.progress import Progress, Reporter, SilentProgress
from facecls.run import EpochMetrics, Run, new_run, run_of
from facecls.training import train as training
from facecls.training.loop import Callback
from facecls.training.signals import Interrupted

__all__ = ["Classifier", "Prediction", "TrainedRun", "evaluate", "load", "train"]


@dataclass(frozen=True)
class TrainedRun:
    """A finished training."""

    folder: Path  # the run directory, for `load`
    best: EpochMetrics  # metrics of the epoch that was kept; selected on the validation images, so optimistic
    stopped: str  # why training stopped before the last epoch; empty if it did not
    warnings: tuple[str, ...] = ()  # what to know before relying on the classifier, such as that it is not better than chance


def load(
    path: str | Path,
    *,
    device: str = "auto",
    precision: Literal["auto", "fp32", "bf16", "fp16"] | None = None,
    unknown: bool = True,
    tta: Literal["none", "flip"] = "none",
    progress: Reporter | None = None,
) -> Classifier:
    """The classifier in a run directory or a checkpoint file.

    device: auto, cpu, cuda, cuda:N or mps.
    precision: of matrix products and convolutions; auto: the fastest; None: that of training, if it was not bf16, else auto.
    unknown: whether images may be labelled `unknown`.
    tta: `flip` averages over each image and its mirror image, unless a flip changes the class.

    Raises CheckpointError if there is no readable checkpoint, DeviceError if this machine lacks the device or precision.
    """
    trained = checkpoint.read(Path(path))
    target = resolve_inference_device(device, precision, trained.config.precision)
    mirrored = flip_allowed(tta == "flip", trained.config.data, progress or SilentProgress())
    return Classifier(trained, target, unknown=unknown, mirrored=mirrored, source=Path(path))


def evaluate(
    classifier: Classifier | str | Path,
    data: str | Path | None = None,
    *,
    split: Literal["train", "val", "test"] | None = None,
    impostors: str | Path | None = None,
    subgroups: str | Path | None = None,
    progress: Reporter | None = None,
) -> Evaluation:
    """Metrics with confidence intervals, calibration error and rejection rates on labelled images.

    classifier: also a path for `load`.
    data: a folder CLASS/file or {train,val,test}/CLASS/file; None: the data of the classifier's own run.
    split: None: test if there is one, else val, or all images of a folder without splits.
    impostors: a folder of images of unknown people, to measure the false accept rate.
    subgroups: a CSV file of path and group, to measure the accuracy of each.

    `Evaluation.to_plain()` has everything as plain values. Raises DataError if the images do not fit the classifier.
    """
    if isinstance(classifier, str | Path):
        classifier = load(classifier)
    return evaluate_checkpoint(
        classifier.checkpoint,
        classifier.device,
        progress or SilentProgress(),
        data=None if data is None else Path(data),
        split_file=None if classifier.source is None else run_of(classifier.source).kept_split,
        split=split,
        impostors=None if impostors is None else Path(impostors),
        subgroups=None if subgroups is None else Path(subgroups),
        mirrored=classifier.mirrored,
    )


def train(
    config: Mapping[str, Any] | Config | str | Path,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    progress: Reporter | bool = False,
) -> TrainedRun | None:
    """Trains a classifier and writes a run directory, as `facecls train` does.

    config: a config file, or its content as a mapping, in which keys may be dotted: `{"data.root": "faces"}`.
    out: the run directory; None: a new one below runs/.
    resume: continue the run in `out`, if it has a last.pt.
    callbacks: each is called with the metrics of every epoch; training ends after the epoch if one returns True.
    progress: True prints to stderr and stdout, as the command line does.

    Returns None on ranks above 0 under torchrun. Raises ConfigError, DataError, RunError and other FaceclsErrors with what to
    do in `hint`, and KeyboardInterrupt on Ctrl-C, after saving.
    """
    if isinstance(config, str | Path):
        settings, name = load_config(Path(config)), Path(config)
    else:
        settings, name = config if isinstance(config, Config) else config_of(config), Path("python.yaml")
    run = Run(Path(out)) if out is not None else new_run(None, name)
    reporter = (Progress() if progress else SilentProgress()) if isinstance(progress, bool) else progress
    try:
        with _threads(settings.threads), torch.random.fork_rng(range(torch.cuda.device_count())):
            result = training.train(settings, run, reporter, resume=resume, callbacks=callbacks)
    except Interrupted as error:
        if error.signal == signal.SIGINT:
            raise KeyboardInterrupt from error
        raise
    if result is None:
        return None
    warnings = tuple(warnings_about(checkpoint.read(run.best).calibration_for()))
    return TrainedRun(run.folder, result.best, result.stopped, warnings)


@contextlib.contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Sets torch's number of threads for a while; None leaves it as it is."""
    if count is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
