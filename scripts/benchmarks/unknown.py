"""How well a trained network tells strangers: thresholds set by half of them, tried on the other half.

    scripts/bench unknown runs/lfw20 --strangers ../shared/data/lfw_strangers [--target 0.01 0.05 0.1] [--halvings 20]

The first halving (seed 0) is the one to publish; the others say how much is luck. For each target: the rate at which the
other half is given a name, whether that is in what `eval --strangers` says was to be expected of so many, and in the
narrower interval of the rate itself that training prints with the threshold (where luck with the other half leaves about
five of six), and the share of the known (the run's val images) that are kept and named right. Beside them, what
thresholds without any strangers would have let in.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from facecls.checkpoint import read
from facecls.config.schema import UnknownConfig
from facecls.data.dataset import index_dataset
from facecls.data.load import load_split, load_unlabelled
from facecls.device import resolve_device
from facecls.evaluation.infer import infer
from facecls.open_set.calibration import KEEP, calibrate
from facecls.open_set.scores import SCORES, enrol, known_scores
from facecls.open_set.thresholds import Threshold, impostors_needed
from facecls.progress import Progress
from facecls.run import run_of
from facecls.training.calibrate import _up_to_per_class
from facecls.training.impostors import infer_impostors, synthetic_impostors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--strangers", type=Path, required=True)
    parser.add_argument("--score", choices=list(SCORES), default="centroid")
    parser.add_argument("--tta", choices=["none", "flip"], default="none")
    parser.add_argument("--target", type=float, nargs="+", default=[0.01, 0.05, 0.1])
    parser.add_argument("--halvings", type=int, default=20)
    args = parser.parse_args()
    trained, run, progress = read(args.checkpoint), run_of(args.checkpoint), Progress()
    device = resolve_device("auto", "auto")
    data = trained.config.data.model_copy(update={"split_file": run.kept_split or trained.config.data.split_file})
    found = index_dataset(data, trained.config.split, progress.bar)
    splits = {
        name: load_split(name, found.splits[name], trained.classes, data, progress.bar, device.torch_device)
        for name in ("train", "val")
    }
    splits["train"] = _up_to_per_class(splits["train"], trained.config.seed)
    splits["strangers"] = load_unlabelled("strangers", args.impostors, data, progress.bar, device.torch_device)
    nobody = synthetic_impostors(splits["val"], trained.config.seed)
    if nobody is None:
        parser.error("composites need three classes")
    model = trained.build(device)
    labels = {name: split.image_list.labels for name, split in splits.items()}
    gallery = enrol(
        args.score, infer(model, splits.pop("train"), device, evaluation=False).features, labels["train"], trained.classes
    )
    outputs = {name: infer(model, split, device, mirrored=args.tta == "flip") for name, split in splits.items()}
    composed = infer_impostors(model, splits["val"], nobody, device, mirrored=args.tta == "flip")
    config = UnknownConfig(score=args.score)
    calibration = calibrate(outputs["val"], labels["val"], config, gallery=gallery, synthetic_impostors=composed)
    right = outputs["val"].logits.argmax(axis=1) == labels["val"]
    scores = {name: known_scores(args.score, each, gallery) for name, each in outputs.items()}
    result: dict[str, Any] = {
        "known": len(right),
        "strangers": len(scores["strangers"]),
        "accuracy": float(right.mean()),
        "ece": calibration.ece,
        "temperature": calibration.temperature,
        "score": args.score,
        "tta": args.tta,
        "halves": [
            halves(target, scores["val"], right, scores["strangers"], args.halvings, config)
            for target in args.target
            if len(scores["strangers"]) // 2 >= impostors_needed(target)
        ],
        "without_strangers": without(
            scores, right, known_scores(args.score, composed.outputs, gallery), composed.sources, args.target, config
        ),
        "chosen_without_strangers": calibration.threshold and calibration.threshold.to_plain(),
        "model": f"{trained.model.name}, {trained.geometry.image_size} pixels",
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))


def halves(
    target: float, known: np.ndarray, right: np.ndarray, impostors: np.ndarray, halvings: int, config: UnknownConfig
) -> dict[str, Any]:
    """Sets a threshold by one half of the strangers and tries it on the other, for several halvings."""
    rates, kept, as_expected, inside = [], [], [], []
    for seed in range(halvings):
        order = np.random.default_rng(seed).permutation(len(impostors))
        ours, others = np.array_split(order, 2)
        threshold = Threshold.from_impostors(config.score, impostors[ours], target, known)
        expected = threshold.expected(len(others))
        assert threshold.interval is not None and expected is not None
        rates.append(float(threshold.accepts(impostors[others]).mean()))
        kept.append(float((threshold.accepts(known) & right).mean()))
        as_expected.append(expected[0] <= rates[-1] <= expected[1])
        inside.append(threshold.interval[0] <= rates[-1] <= threshold.interval[1])
    return {
        "target": target,
        "expected": expected,
        "interval_of_the_rate": threshold.interval,
        "first": {"false_accept": rates[0], "identified": kept[0], "as_expected": as_expected[0], "inside": inside[0]},
        "mean_false_accept": float(np.mean(rates)),
        "mean_identified": float(np.mean(kept)),
        "share_as_expected": float(np.mean(as_expected)),
        "share_inside": float(np.mean(inside)),
    }


def without(
    scores: dict[str, np.ndarray],
    right: np.ndarray,
    composed: np.ndarray,
    sources: np.ndarray,
    targets: list[float],
    config: UnknownConfig,
) -> list[dict[str, Any]]:
    """What thresholds set by val and by composites of it let in."""
    thresholds = {f"val, {KEEP:.0%} kept": Threshold.from_val(config.score, scores["val"], KEEP)} | {
        f"composites, {target:g}": Threshold.from_synthetic_impostors(config.score, composed, sources, target, scores["val"])
        for target in targets
    }
    return [
        {
            "set_by": name,
            "threshold": threshold.value,
            "interval": threshold.interval,
            "false_accept": float(threshold.accepts(scores["strangers"]).mean()),
            "known_kept": float(threshold.accepts(scores["val"]).mean()),
            "identified": float((threshold.accepts(scores["val"]) & right).mean()),
        }
        for name, threshold in thresholds.items()
    ]


if __name__ == "__main__":
    main()
