"""The end of a training: what best.pt should know of itself, fitted and written into it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from facecls import checkpoint, seeding
from facecls.config.schema import UNKNOWN, Config, DataConfig, UnknownConfig
from facecls.data.load import LoadedSplit, load_unlabelled
from facecls.device import Device
from facecls.errors import DataError
from facecls.evaluation.infer import infer
from facecls.open_set.calibration import Calibration, describe
from facecls.open_set.fit import calibrate
from facecls.open_set.scores import enrol
from facecls.open_set.thresholds import require_impostors
from facecls.progress import Progress
from facecls.run import Run
from facecls.training.impostors import infer_impostors, make_impostors

_PER_CLASS = 200  # training images of a class that it is known by: more would hardly move its centroid


def load_impostors(unknown: UnknownConfig, data: DataConfig, progress: Progress, device: torch.device) -> LoadedSplit | None:
    """The strangers' images, if the config names some and a threshold is wanted.

    Raises DataError for a folder that is not there or holds too few of them for the target.
    """
    if not unknown.enabled or unknown.strangers is None:
        return None
    impostors = load_unlabelled("strangers", unknown.strangers, data, progress.bar, device)
    require_impostors(len(impostors), unknown.target_false_accept)
    return impostors


def refuse_a_class_unknown(config: Config, classes: Sequence[str]) -> None:
    """Raises DataError where a class has the name of the images that show none: nobody could tell which is meant."""
    if config.unknown.enabled and UNKNOWN in classes:
        raise DataError(
            f"{config.data.root}: a class is called `{UNKNOWN}`, as are images that show none of the classes",
            hint="rename it; if it holds strangers, move it elsewhere and name it in unknown.strangers; "
            "or answer always with a class: unknown.enabled=false",
        )


def calibrate_run(
    run: Run,
    config: Config,
    train: LoadedSplit,
    val: LoadedSplit,
    impostors: LoadedSplit | None,
    device: Device,
    progress: Progress,
) -> dict[str, Any]:
    """Fits temperature and threshold to the weights in best.pt, writes both into it, and says what they rest on.

    Gives the best epoch's metrics with the calibration error in them.
    """
    best = checkpoint.read(run.best)
    model = best.build(device)
    chosen = some_of_each_class(train, config.seed)
    size = best.geometry.image_size  # of a run that ended while its images were growing, less than the config's
    nobody = make_impostors(val, config.seed) if config.unknown.enabled and impostors is None else None

    def calibration_for(*, mirrored: bool) -> Calibration:
        """With flips all scores are others, so that they have a temperature and a threshold of their own."""
        known = infer(model, val, device, size=size, mirrored=mirrored)
        others = None if impostors is None else infer(model, impostors, device, size=size, mirrored=mirrored)
        composed = None if nobody is None else infer_impostors(model, val, nobody, device, size=size, mirrored=mirrored)
        return calibrate(
            known, val.image_list.labels, config.unknown, gallery=gallery, impostors=others, synthetic_impostors=composed
        )

    gallery = None
    with progress.bar(total=3, desc="judging", unit="pass") as bar:
        if config.unknown.enabled:
            features = infer(model, chosen, device, size=size, with_logits=False).features
            gallery = enrol(config.unknown.score, features, chosen.image_list.labels, best.classes)
        bar.update()
        calibration = calibration_for(mirrored=False)
        bar.update()
        with_flips = None if config.data.flip_changes_class else calibration_for(mirrored=True)
    assert calibration.ece is not None
    before, after = calibration.ece
    metrics = best.metrics | {"val_ece": before, "val_ece_calibrated": after}
    done = replace(best, config=config, metrics=metrics, calibration=calibration, calibration_flipped=with_flips)
    checkpoint.save(run.best, checkpoint.to_plain(done))
    run.amend_row(metrics)
    for line in describe(calibration):
        progress.note(line)
    return metrics


def some_of_each_class(split: LoadedSplit, seed: int) -> LoadedSplit:
    """Up to 200 images of each class, drawn by the seed."""
    labels = split.image_list.labels
    if len(labels) <= _PER_CLASS:
        return split
    order = np.random.default_rng(seeding.seed_of("centroids", seed)).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    ordered = labels[by_class]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    chosen = np.sort(by_class[rank < _PER_CLASS])
    return LoadedSplit(split.name, split.image_list.take(chosen), split.faces.take(chosen))
