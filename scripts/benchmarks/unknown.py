"""How well a trained network tells strangers: thresholds set by half of them, tried on the other half.

    scripts/bench unknown runs/lfw20 --strangers ../shared/data/lfw_strangers [--target 0.01 0.05 0.1] [--halvings 20]

The first halving (seed 0) is the one to publish; the others say how much is luck. For each target: the rate at which the
other half is given a name, whether that is in what `eval --strangers` says was to be expected of so many, and in the
narrower interval of the rate itself that training prints with the threshold (where luck with the other half leaves about
five of six), and the share of the known (the run's val pictures) that are kept and named right. Beside them, what
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
from facecls.data.dataset import find_parts
from facecls.data.load import load_part, loose_part
from facecls.device import pick_compute
from facecls.evaluation.infer import infer
from facecls.open_set.calibration import KEEP, judge
from facecls.open_set.scores import SCORES, enrol, known_scores
from facecls.open_set.thresholds import Threshold, strangers_needed
from facecls.progress import Progress
from facecls.run import run_of
from facecls.training.calibrate import some_of_each_class
from facecls.training.impostors import composites, infer_composites


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
    compute = pick_compute("auto", "auto")
    data = trained.config.data.model_copy(update={"split_file": run.kept_split or trained.config.data.split_file})
    found = find_parts(data, trained.config.split, progress.bar)
    parts = {
        name: load_part(name, found.parts[name], trained.classes, data, progress.bar, compute.device)
        for name in ("train", "val")
    }
    parts["train"] = some_of_each_class(parts["train"], trained.config.seed)
    parts["strangers"] = loose_part("strangers", args.strangers, data, progress.bar, compute.device)
    nobody = composites(parts["val"], trained.config.seed)
    if nobody is None:
        parser.error("composites need three classes")
    model = trained.build(compute)
    labels = {name: part.listing.labels for name, part in parts.items()}
    gallery = enrol(
        args.score, infer(model, parts.pop("train"), compute, scored=False).features, labels["train"], trained.classes
    )
    outputs = {name: infer(model, part, compute, mirrored=args.tta == "flip") for name, part in parts.items()}
    composed = infer_composites(model, parts["val"], nobody, compute, mirrored=args.tta == "flip")
    config = UnknownConfig(score=args.score)
    judgement = judge(outputs["val"], labels["val"], config, gallery=gallery, composites=composed)
    right = outputs["val"].logits.argmax(axis=1) == labels["val"]
    scores = {name: known_scores(args.score, each, gallery) for name, each in outputs.items()}
    result: dict[str, Any] = {
        "known": len(right),
        "strangers": len(scores["strangers"]),
        "accuracy": float(right.mean()),
        "ece": judgement.ece,
        "temperature": judgement.temperature,
        "score": args.score,
        "tta": args.tta,
        "halves": [
            halves(target, scores["val"], right, scores["strangers"], args.halvings, config)
            for target in args.target
            if len(scores["strangers"]) // 2 >= strangers_needed(target)
        ],
        "without_strangers": without(
            scores, right, known_scores(args.score, composed.outputs, gallery), composed.sources, args.target, config
        ),
        "chosen_without_strangers": judgement.threshold and judgement.threshold.to_plain(),
        "model": f"{trained.model.name}, {trained.geometry.image_size} pixels",
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))


def halves(
    target: float, known: np.ndarray, right: np.ndarray, strangers: np.ndarray, halvings: int, config: UnknownConfig
) -> dict[str, Any]:
    """Sets a threshold by one half of the strangers and tries it on the other, for several halvings."""
    rates, kept, as_expected, inside = [], [], [], []
    for seed in range(halvings):
        order = np.random.default_rng(seed).permutation(len(strangers))
        ours, others = np.array_split(order, 2)
        threshold = Threshold.from_strangers(config.score, strangers[ours], target, known)
        expected = threshold.expected(len(others))
        assert threshold.interval is not None and expected is not None
        rates.append(float(threshold.accepts(strangers[others]).mean()))
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
        f"composites, {target:g}": Threshold.from_composites(config.score, composed, sources, target, scores["val"])
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
