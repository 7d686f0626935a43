"""Throughput of `facecls predict` on 12-megapixel photographs, beside decoding alone and detection alone (images per second).

    scripts/bench photographs FACES --checkpoint runs/people/best.pt [--count 24] [--rounds 3] [--threads 2]

The photographs are made from a seed: images of the folder FACES, two to six in each, pasted into a drawn scene of 4000 x 3000
pixels and saved as JPEG. The checkpoint was trained with `data.faces: detect`.

    predict     Classifier.stream on the files
    decoding    the files, decoded as predict decodes them before it searches for faces
    detection   the detector, on these images in memory

All run in as many workers, of one thread each. Every round measures all in turn. Prints medians as JSON, with the median,
minimum and maximum ratio of predict to decoding and detection one after the other.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _conditions import conditions
from _timing import seconds
from PIL import Image

from facecls.checkpoint import read
from facecls.device import configure_process, resolve_device
from facecls.faces.decode import open_image
from facecls.faces.detect import build_detector
from facecls.inference.classifier import Classifier
from facecls.inference.sources import find_images
from facecls.run import newest_best

_WIDTH, _HEIGHT = 4000, 3000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faces", type=Path)
    parser.add_argument("--checkpoint", type=Path, help="default: best.pt of the newest run")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="default: at most the available cores")
    args = parser.parse_args()
    configure_process(args.threads)
    device = resolve_device("auto", "auto", "inference")
    classifier = Classifier(read(args.checkpoint or newest_best()), device)
    detection = classifier.geometry.detection
    if detection is None:
        sys.exit("error: the checkpoint was trained with data.faces: image")
    detector, size = build_detector(detection.detector, detection.options), max(detection.options.sizes)
    with tempfile.TemporaryDirectory() as folder:
        paths = photographs(Path(folder), find_images([str(args.faces)]), args.count)
        decoded = [np.asarray(open_image(path, size)) for path in paths]
        contenders: dict[str, Callable[[], object]] = {
            "predict": lambda: deque(classifier.stream(paths), maxlen=0),
            "decoding": lambda: in_workers(lambda path: np.asarray(open_image(path, size)), paths),
            "detection": lambda: in_workers(detector, decoded),
        }
        for run in contenders.values():
            run()
        rounds = []
        for number in range(args.rounds):
            rounds.append({name: len(paths) / seconds(run) for name, run in contenders.items()})
            speeds = ", ".join(f"{name} {speed:.1f}" for name, speed in rounds[-1].items())
            print(f"round {number + 1}: {speeds} images/s", file=sys.stderr, flush=True)
        faces = sum(len(predictions) for predictions in classifier.by_image(paths))
    ratios = [each["predict"] * (1 / each["decoding"] + 1 / each["detection"]) for each in rounds]
    result = {name: statistics.median(each[name] for each in rounds) for name in contenders}
    more = {"ratio": [statistics.median(ratios), min(ratios), max(ratios)], "images": len(paths), "faces": faces}
    print(json.dumps(result | more | conditions(device), indent=2))


def photographs(folder: Path, faces: list[str], count: int) -> list[str]:
    """Writes the photographs and returns their paths."""
    draw, paths = random.Random(0), []
    for number in range(count):
        noise = np.random.default_rng(number).integers(60, 200, (30, 40, 3), np.uint8)
        scene = Image.fromarray(noise).resize((_WIDTH, _HEIGHT), Image.Resampling.BICUBIC)
        for path in draw.sample(faces, draw.randint(2, 6)):
            side = draw.randint(250, 900)
            face = open_image(path).resize((side, side), Image.Resampling.BICUBIC)
            scene.paste(face, (draw.randrange(_WIDTH - side), draw.randrange(_HEIGHT - side)))
        paths.append(str(folder / f"{number:03d}.jpg"))
        scene.save(paths[-1], quality=90)
    return paths


def in_workers(function: Callable[[Any], object], items: Sequence[Any]) -> None:
    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        deque(pool.map(function, items), maxlen=0)


if __name__ == "__main__":
    main()
