"""Images per second of predict on a folder, beside decoding alone and the network alone, in turn.

    scripts/bench predict FOLDER --checkpoint runs/lfw20/best.pt [--rounds 5] [--threads 2]

Decoding alone is what predict reads with, its faces thrown away; the network alone is what predict computes with, on faces
that are in memory; torch's is the same network as PyTorch runs it by itself (autocast, channels_last), where predict has a
faster copy. Every round measures all, one after the other, so that a machine that is busy for a while is so for all; what
counts are the medians of the rounds' ratios of predict to the slower of decoding and either network.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from facecls.checkpoint import read
from facecls.device import resolve_device
from facecls.evaluation.infer import BATCH, forward_batches
from facecls.inference.predict import Predictor
from facecls.inference.sources import find_images
from facecls.run import newest_best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = resolve_device("auto", "auto")
    predictor = Predictor(read(args.checkpoint or newest_best()), device)
    paths = find_images([str(args.folder)])
    contenders: dict[str, Callable[[], None]] = {
        "predict": lambda: _exhaust(predictor.predict(paths)),
        "decoding": lambda: _exhaust(predictor.read(paths)),
        "network": lambda: _network(predictor, predictor.outputs, len(paths)),
        "torch network": lambda: _network(predictor, lambda faces: _by_torch(predictor, faces), len(paths)),
    }
    for run in contenders.values():  # files come into the system's memory, kernels are prepared
        run()
    rounds = []
    for number in range(args.rounds):
        rounds.append({name: len(paths) / _seconds(run) for name, run in contenders.items()})
        said = ", ".join(f"{name} {speed:.0f}" for name, speed in rounds[-1].items())
        print(f"round {number + 1}: {said} images/s", file=sys.stderr, flush=True)
    result: dict[str, Any] = {name: statistics.median(each[name] for each in rounds) for name in contenders}
    for network in ("network", "torch network"):
        ratios = [each["predict"] / min(each["decoding"], each[network]) for each in rounds]
        result[f"ratio to {network}"] = [statistics.median(ratios), min(ratios), max(ratios)]
    result |= {
        "images": len(paths),
        "model": predictor.name,
        "image_size": predictor.geometry.image_size,
        "compute": str(device),
        "threads": args.threads,
        "torch": torch.__version__,
    }
    print(json.dumps(result, indent=2))


def _by_torch(predictor: Predictor, faces: NDArray[np.uint8]) -> object:
    images = predictor.device.images(torch.from_numpy(faces))
    return forward_batches(predictor.model, [images], predictor.device, mirrored=predictor.mirrored)


def _network(predictor: Predictor, outputs: Callable[[NDArray[np.uint8]], object], count: int) -> None:
    side = predictor.geometry.image_size
    faces = np.random.default_rng(0).integers(0, 256, (BATCH, side, side, 3), dtype=np.uint8)
    for start in range(0, count, BATCH):
        outputs(faces[: min(BATCH, count - start)])


def _exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass


def _seconds(run: Callable[[], None]) -> float:
    begun = time.perf_counter()
    run()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
