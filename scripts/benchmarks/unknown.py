"""Rejection of unknown people: thresholds set on half of the impostors, evaluated on the other half.

    scripts/bench unknown runs/lfw20 --strangers DIR [--target 0.01 0.05 0.1] [--halvings 20]

The first halving (seed 0) is the one to publish; the others show its sampling error. For each target: the false accept
rate (FAR) on the other half, whether it is in the prediction interval that `eval --strangers` prints, and in the narrower
confidence interval that training prints with the threshold (which covers about five of six, because the other half has a
sampling error of its own), and the detection and identification rate (DIR) on the run's validation images. Besides, the
FAR of thresholds set without impostors.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from _conditions import conditions

from facecls.checkpoint import read
from facecls.config.schema import UnknownConfig
from facecls.data.dataset import index_dataset
from facecls.data.load import load_split, load_unlabelled
from facecls.device import configure_process, resolve_device
from facecls.evaluation.infer import infer
from facecls.open_set.fit import VALIDATION_TRUE_ACCEPT, calibrate
from facecls.open_set.scores import SCORES, enrol, open_set_scores
from facecls.open_set.thresholds import Threshold, impostors_needed
from facecls.progress import Progress
from facecls.run import run_of
from facecls.training.calibrate import _up_to_per_class
from facecls.training.impostors import infer_impostors, make_impostors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--strangers", type=Path, required=True, help="folder of images of unknown people")
    parser.add_argument("--score", choices=list(SCORES), default="centroid")
    parser.add_argument("--tta", choices=["none", "flip"], default="none")
    parser.add_argument("--target", type=float, nargs="+", default=[0.01, 0.05, 0.1])
    parser.add_argument("--halvings", type=int, default=20)
    args = parser.parse_args()
    trained, run, progress = read(args.checkpoint), run_of(args.checkpoint), Progress()
    configure_process(None)
    device = resolve_device("auto", "auto", "inference")
    data = trained.config.data.model_copy(update={"split_file": run.kept_split or trained.config.data.split_file})
    index = index_dataset(data, trained.config.split, progress.bar)
    splits = {
        name: load_split(name, index.splits[name], trained.classes, data, progress.bar, device.torch_device)
        for name in ("train", "val")
    }
    splits["train"] = _up_to_per_class(splits["train"], trained.config.seed)
    splits["impostors"] = load_unlabelled("impostors", args.strangers, data, progress.bar, device.torch_device)
    made = make_impostors(splits["val"], trained.config.seed)
    if made is None:
        parser.error("synthetic impostors need three classes")
    model = trained.build(device)
    labels = {name: split.image_list.labels for name, split in splits.items()}
    gallery = enrol(
        args.score, infer(model, splits.pop("train"), device, with_logits=False).features, labels["train"], trained.classes
    )
    outputs = {name: infer(model, split, device, mirrored=args.tta == "flip") for name, split in splits.items()}
    synthetic = infer_impostors(model, splits["val"], made, device, mirrored=args.tta == "flip")
    config = UnknownConfig(score=args.score)
    calibration = calibrate(outputs["val"], labels["val"], config, gallery=gallery, synthetic_impostors=synthetic)
    correct = outputs["val"].logits.argmax(axis=1) == labels["val"]
    scores = {name: open_set_scores(args.score, each, gallery) for name, each in outputs.items()}
    result: dict[str, Any] = {
        "known": len(correct),
        "impostors": len(scores["impostors"]),
        "accuracy": float(correct.mean()),
        "ece": calibration.ece,
        "temperature": calibration.temperature,
        "score": args.score,
        "tta": args.tta,
        "halves": [
            halves(target, scores["val"], correct, scores["impostors"], args.halvings, config)
            for target in args.target
            if len(scores["impostors"]) // 2 >= impostors_needed(target)
        ],
        "without_impostors": without_impostors(
            scores, correct, open_set_scores(args.score, synthetic.outputs, gallery), synthetic.sources, args.target, config
        ),
        "chosen_without_impostors": calibration.threshold and calibration.threshold.to_plain(),
        "model": f"{trained.model.name}, {trained.geometry.image_size} pixels",
        **conditions(device),
    }
    print(json.dumps(result, indent=2))


def halves(
    target: float, known: np.ndarray, correct: np.ndarray, impostors: np.ndarray, halvings: int, config: UnknownConfig
) -> dict[str, Any]:
    """Sets a threshold on one half of the impostors and evaluates it on the other, for several halvings."""
    far, dir_, in_prediction, in_confidence = [], [], [], []
    for seed in range(halvings):
        order = np.random.default_rng(seed).permutation(len(impostors))
        first, second = np.array_split(order, 2)
        threshold = Threshold.from_impostors(config.score, impostors[first], target, known)
        prediction = threshold.prediction_interval(len(second))
        assert threshold.interval is not None and prediction is not None
        far.append(float(threshold.accepts(impostors[second]).mean()))
        dir_.append(float((threshold.accepts(known) & correct).mean()))
        in_prediction.append(prediction[0] <= far[-1] <= prediction[1])
        in_confidence.append(threshold.interval[0] <= far[-1] <= threshold.interval[1])
    return {
        "target_false_accept": target,
        "prediction_interval": prediction,
        "confidence_interval": threshold.interval,
        "first": {
            "false_accept_rate": far[0],
            "identification_rate": dir_[0],
            "in_prediction_interval": in_prediction[0],
            "in_confidence_interval": in_confidence[0],
        },
        "mean_false_accept_rate": float(np.mean(far)),
        "mean_identification_rate": float(np.mean(dir_)),
        "share_in_prediction_interval": float(np.mean(in_prediction)),
        "share_in_confidence_interval": float(np.mean(in_confidence)),
    }


def without_impostors(
    scores: dict[str, np.ndarray],
    correct: np.ndarray,
    synthetic: np.ndarray,
    sources: np.ndarray,
    targets: list[float],
    config: UnknownConfig,
) -> list[dict[str, Any]]:
    """Rates of thresholds set on validation images and on synthetic impostors made from them."""
    by_validation = Threshold.from_validation(config.score, scores["val"], VALIDATION_TRUE_ACCEPT)
    thresholds = [by_validation] + [
        Threshold.from_synthetic_impostors(config.score, synthetic, sources, target, scores["val"]) for target in targets
    ]
    return [
        {
            "source": threshold.source,
            "target_false_accept": threshold.target_false_accept,
            "threshold": threshold.value,
            "interval": threshold.interval,
            "false_accept_rate": float(threshold.accepts(scores["impostors"]).mean()),
            "true_accept_rate": threshold.true_accept_rate,
            "identification_rate": float((threshold.accepts(scores["val"]) & correct).mean()),
        }
        for threshold in thresholds
    ]


if __name__ == "__main__":
    main()
