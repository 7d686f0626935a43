"""The end of a training: what best.pt should know of itself, fitted and written into it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from facecls import checkpoint, seeding
from facecls.config.schema import UNKNOWN, Config, DataConfig, UnknownConfig
from facecls.data.load import Part, loose_part
from facecls.device import Compute
from facecls.errors import DataError
from facecls.evaluation.infer import infer
from facecls.open_set.calibration import Judgement, describe, judge
from facecls.open_set.scores import enrol
from facecls.open_set.thresholds import check_strangers
from facecls.progress import Progress
from facecls.run import Run
from facecls.training.impostors import composites, infer_composites

_PER_CLASS = 200  # training pictures of a class that it is known by: more would hardly move its centroid


def prepare_strangers(unknown: UnknownConfig, data: DataConfig, progress: Progress, device: torch.device) -> Part | None:
    """The strangers' pictures, if the config names some and a threshold is wanted.

    Raises DataError for a folder that is not there or holds too few of them for the target.
    """
    if not unknown.enabled or unknown.strangers is None:
        return None
    strangers = loose_part("strangers", unknown.strangers, data, progress.bar, device)
    check_strangers(len(strangers), unknown.target_false_accept)
    return strangers


def refuse_a_class_unknown(config: Config, classes: Sequence[str]) -> None:
    """Raises DataError where a class has the name of the pictures that show none: nobody could tell which is meant."""
    if config.unknown.enabled and UNKNOWN in classes:
        raise DataError(
            f"{config.data.root}: a class is called `{UNKNOWN}`, as are pictures that show none of the classes",
            hint="rename it; if it holds strangers, move it elsewhere and name it in unknown.strangers; "
            "or answer always with a class: unknown.enabled=false",
        )


def judge_run(
    run: Run, config: Config, train: Part, val: Part, strangers: Part | None, compute: Compute, progress: Progress
) -> dict[str, Any]:
    """Fits temperature and threshold to the weights in best.pt, writes both into it, and says what they rest on.

    Gives the best epoch's metrics with the calibration error in them.
    """
    best = checkpoint.read(run.best)
    model = best.build(compute)
    chosen = some_of_each_class(train, config.seed)
    size = best.geometry.image_size  # of a run that ended while its pictures were growing, less than the config's
    nobody = composites(val, config.seed) if config.unknown.enabled and strangers is None else None

    def judged(*, mirrored: bool) -> Judgement:
        """With flips all scores are others, so that they have a temperature and a threshold of their own."""
        known = infer(model, val, compute, size=size, mirrored=mirrored)
        others = None if strangers is None else infer(model, strangers, compute, size=size, mirrored=mirrored)
        composed = None if nobody is None else infer_composites(model, val, nobody, compute, size=size, mirrored=mirrored)
        return judge(known, val.listing.labels, config.unknown, gallery=gallery, strangers=others, composites=composed)

    gallery = None
    with progress.bar(total=3, desc="judging", unit="pass") as bar:
        if config.unknown.enabled:
            features = infer(model, chosen, compute, size=size, scored=False).features
            gallery = enrol(config.unknown.score, features, chosen.listing.labels, best.classes)
        bar.update()
        judgement = judged(mirrored=False)
        bar.update()
        with_flips = None if config.data.labels_are_handed else judged(mirrored=True)
    assert judgement.ece is not None
    before, after = judgement.ece
    metrics = best.metrics | {"val_ece": before, "val_ece_calibrated": after}
    done = replace(best, config=config, metrics=metrics, judgement=judgement, judgement_mirrored=with_flips)
    checkpoint.save(run.best, checkpoint.to_plain(done))
    run.amend_row(metrics)
    for line in describe(judgement):
        progress.note(line)
    return metrics


def some_of_each_class(part: Part, seed: int) -> Part:
    """Up to 200 pictures of each class, drawn by the seed."""
    labels = part.listing.labels
    if len(labels) <= _PER_CLASS:
        return part
    order = np.random.default_rng(seeding.seed_of("centroids", seed)).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    ordered = labels[by_class]
    rank = np.arange(len(ordered)) - np.searchsorted(ordered, ordered)
    chosen = np.sort(by_class[rank < _PER_CLASS])
    return Part(part.name, part.listing.take(chosen), part.faces.take(chosen))
