"""Throughput of `facecls predict` on a folder, beside decoding alone and inference alone (images per second).

    scripts/bench predict FOLDER --checkpoint runs/lfw20/best.pt [--rounds 5] [--threads 2]

    predict            Classifier.stream on the files of the folder
    arrays             Classifier.stream on arrays of the same images, as predict decodes them
    decoding           the same files, decoded and resized by predict's workers and dropped
    resizing           the same for these arrays
    inference          predict's own model, on random faces in memory
    PyTorch inference  the model without predict's optimised copy: autocast and channels_last

Every round measures all in turn, so that other load on the machine affects all of them. Prints the medians as JSON, with
the median, minimum and maximum ratio of predict to the slower of decoding and either kind of inference, and of arrays to
predict less decoding (its time less that of decoding, plus that of resizing).
"""

import argparse
import json
import math
import statistics
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _conditions import conditions
from _timing import seconds
from numpy.typing import NDArray

from facecls.checkpoint import read
from facecls.device import configure_process, resolve_device
from facecls.evaluation.infer import batch_size, forward_batches
from facecls.faces.decode import open_image
from facecls.inference.classifier import Classifier
from facecls.inference.sources import find_images
from facecls.run import newest_best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="default: best.pt of the newest run")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="default: at most the available cores")
    args = parser.parse_args()
    configure_process(args.threads)
    device = resolve_device("auto", "auto", "inference")
    predictor = Classifier(read(args.checkpoint or newest_best()), device)
    paths = find_images([str(args.folder)])
    geometry = predictor.geometry
    arrays = [np.asarray(open_image(path, math.ceil(geometry.image_size / geometry.crop))) for path in paths]
    contenders: dict[str, Callable[[], object]] = {
        "predict": lambda: deque(predictor.stream(paths), maxlen=0),
        "arrays": lambda: deque(predictor.stream(arrays), maxlen=0),
        "decoding": lambda: deque(predictor.map_batches(paths, len), maxlen=0),
        "resizing": lambda: deque(predictor.map_batches(arrays, len), maxlen=0),
        "inference": lambda: infer(predictor, predictor.forward, len(paths)),
        "PyTorch inference": lambda: infer(predictor, lambda faces: plain_forward(predictor, faces), len(paths)),
    }
    for run in contenders.values():  # warm-up: fills the file cache and prepares the kernels
        run()
    rounds = []
    for number in range(args.rounds):
        rounds.append({name: len(paths) / seconds(run) for name, run in contenders.items()})
        speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in rounds[-1].items())
        print(f"round {number + 1}: {speeds} images/s", file=sys.stderr, flush=True)
    result: dict[str, Any] = {name: statistics.median(each[name] for each in rounds) for name in contenders}
    for name in ("inference", "PyTorch inference"):
        ratios = [each["predict"] / min(each["decoding"], each[name]) for each in rounds]
        result[f"ratio to {name}"] = [statistics.median(ratios), min(ratios), max(ratios)]
    decoding = [1 / each["decoding"] - 1 / each["resizing"] for each in rounds]  # seconds an image
    ratios = [each["arrays"] * (1 / each["predict"] - less) for each, less in zip(rounds, decoding, strict=True)]
    result["ratio of arrays to predict less decoding"] = [statistics.median(ratios), min(ratios), max(ratios)]
    result |= {
        "images": len(paths),
        "model": predictor.checkpoint.model.name,
        "image_size": predictor.geometry.image_size,
        **conditions(device),
    }
    print(json.dumps(result, indent=2))


def plain_forward(predictor: Classifier, faces: NDArray[np.uint8]) -> object:
    images = predictor.device.images(torch.from_numpy(faces))
    return forward_batches(predictor.model, [images], predictor.device, mirrored=predictor.mirrored)


def infer(predictor: Classifier, forward: Callable[[NDArray[np.uint8]], object], count: int) -> None:
    side = predictor.geometry.image_size
    batch = batch_size(predictor.device, side)
    faces = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), dtype=np.uint8)
    for start in range(0, count, batch):
        forward(faces[: min(batch, count - start)])


if __name__ == "__main__":
    main()
