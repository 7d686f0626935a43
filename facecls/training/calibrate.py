"""The end of training: fits the calibration and the rejection threshold of best.pt and writes them into it."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from facecls import checkpoint, seeding
from facecls.config.schema import UNKNOWN, Config, DataConfig, UnknownConfig
from facecls.data.load import LoadedSplit, load_unlabelled
from facecls.data.sampler import check_weights
from facecls.device import Device
from facecls.errors import DataError
from facecls.evaluation.infer import infer
from facecls.open_set.calibration import Calibration, describe, warnings_about
from facecls.open_set.fit import calibrate
from facecls.open_set.scores import enrol
from facecls.open_set.thresholds import require_impostors
from facecls.progress import Reporter
from facecls.run import EpochMetrics, Run
from facecls.training.impostors import infer_impostors, make_impostors

_PER_CLASS = 200  # training images of a class that its gallery is made from: more hardly move its centroid


def load_impostors(unknown: UnknownConfig, data: DataConfig, progress: Reporter, device: torch.device) -> LoadedSplit | None:
    """The images of unknown people, if the config names a directory of them and a threshold is wanted.

    Raises DataError if the directory is missing or holds too few images for the target false accept rate.
    """
    if not unknown.enabled or unknown.strangers is None:
        return None
    impostors = load_unlabelled("strangers", unknown.strangers, data, progress.bar, device)
    require_impostors(len(impostors), unknown.target_false_accept)
    return impostors


def check_class_names(config: Config, classes: Sequence[str]) -> None:
    """Raises DataError if a class has the name that rejected images get, or `data.balance` names what is no class."""
    check_weights(config.data.balance, classes)
    if config.unknown.enabled and UNKNOWN in classes:
        raise DataError(
            f"{config.data.root}: a class is called `{UNKNOWN}`, the label of rejected images",
            hint="rename it; if it holds unknown people, move it elsewhere and name it in unknown.strangers; "
            "or disable rejection: unknown.enabled=false",
        )


def calibrate_run(
    run: Run,
    config: Config,
    train: LoadedSplit,
    val: LoadedSplit,
    impostors: LoadedSplit | None,
    device: Device,
    progress: Reporter,
) -> EpochMetrics:
    """Fits temperature and threshold for the weights in best.pt, writes both into it, and reports them.

    Returns the metrics of the best epoch with the calibration errors.
    """
    best = checkpoint.read(run.best)
    model = best.build(device)
    enrolled = _up_to_per_class(train, config.seed)
    size = best.geometry.image_size  # smaller than the config's if the run ended while the image size grew
    synthetic = make_impostors(val, config.seed) if config.unknown.enabled and impostors is None else None

    def fit(*, mirrored: bool) -> tuple[Calibration, float]:
        """The calibration and its DIR; with flips the scores differ, so they have a temperature and threshold of their own."""
        known = infer(model, val, device, size=size, mirrored=mirrored)
        unknown = None if impostors is None else infer(model, impostors, device, size=size, mirrored=mirrored)
        composed = None if synthetic is None else infer_impostors(model, val, synthetic, device, size=size, mirrored=mirrored)
        labels = val.image_list.labels
        fitted = calibrate(known, labels, config.unknown, gallery=gallery, impostors=unknown, synthetic_impostors=composed)
        identified = fitted.accepts(known) & (known.logits.argmax(axis=1) == labels)
        return fitted, float(identified.mean())

    gallery = None
    with progress.bar(total=3, desc="calibrating", unit="pass") as bar:
        if config.unknown.enabled:
            features = infer(model, enrolled, device, size=size, with_logits=False).features
            gallery = enrol(config.unknown.score, features, enrolled.image_list.labels, best.classes)
        bar.update()
        calibration, identification_rate = fit(mirrored=False)
        bar.update()
        flipped = None if config.data.flip_changes_class else fit(mirrored=True)[0]
    assert calibration.ece is not None
    before, after = calibration.ece
    row = replace(
        EpochMetrics(**best.metrics),
        val_ece=before,
        val_ece_calibrated=after,
        val_identification_rate=None if calibration.threshold is None else identification_rate,
    )
    calibrated = replace(best, config=config, metrics=row.to_plain(), calibration=calibration, calibration_flipped=flipped)
    checkpoint.save(run.best, checkpoint.to_plain(calibrated))
    run.amend_row(row)
    for line in [*describe(calibration), *(f"warning: {text}" for text in warnings_about(calibration))]:
        progress.note(line)
    return row


def _up_to_per_class(split: LoadedSplit, seed: int) -> LoadedSplit:
    """Up to _PER_CLASS images of each class, drawn by the seed."""
    labels = split.image_list.labels
    if len(labels) <= _PER_CLASS:
        return split
    order = np.random.default_rng(seeding.seed_of("centroids", seed)).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    ordered = labels[by_class]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    chosen = np.sort(by_class[rank < _PER_CLASS])
    return LoadedSplit(split.name, split.image_list.take(chosen), split.faces.take(chosen))
