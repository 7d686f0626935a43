"""Whether `precision: auto` is the fastest: images per second of ResNet18 in each precision, for training and inference.

    scripts/bench precision [--size 96] [--batch 64] [--rounds 7] [--threads 2]

A training step is facecls's own on random faces, inference the model that eval and predict use. Every round measures the
precisions in turn, so that other load on the machine affects all of them. Prints for each purpose the medians, what `auto`
chose (measured now, not read from the cache) and its median speed as a share of the fastest one's.
ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY imitate other processors.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from _conditions import conditions
from _timing import seconds

from facecls.config.schema import Config, DataConfig, HeadConfig, TrainConfig
from facecls.data.listing import ImageList, Paths
from facecls.data.load import LoadedSplit
from facecls.data.sampler import TrainLoader
from facecls.data.stores.memory import ArrayStore
from facecls.device import Device, configure_process, resolve_device
from facecls.evaluation.infer import forward_batches
from facecls.models.mkldnn import for_inference
from facecls.precision import Purpose
from facecls.progress import Progress
from facecls.training.distributed import SingleProcess
from facecls.training.state import build_state
from facecls.training.step import TrainStep

CLASSES = 62
STEPS = 3  # per measurement


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="side in pixels")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="default: at most the available cores")
    args = parser.parse_args()
    configure_process(args.threads)
    os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp()  # without measurements of earlier runs
    config = Config(
        data=DataConfig(root=Path("random"), image_size=args.size),
        head=HeadConfig(name="cosface"),
        train=TrainConfig(batch_size=args.batch),
    )
    result: dict[str, object] = {}
    measures: dict[Purpose, Callable[[Config, Device], Callable[[], object]]] = {"training": training, "inference": inference}
    for purpose, prepare in measures.items():
        auto = resolve_device("cpu", "auto", purpose)
        runs = {}
        for precision in ("fp32", "bf16"):
            runs[precision] = prepare(config, resolve_device("cpu", precision))
            runs[precision]()  # prepares the kernels
        rounds = []
        for number in range(args.rounds):
            rounds.append({name: STEPS * args.batch / seconds(run) for name, run in runs.items()})
            speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in rounds[-1].items())
            print(f"{purpose}, round {number + 1}: {speeds} images/s", file=sys.stderr, flush=True)
        medians = {name: statistics.median(each[name] for each in rounds) for name in runs}
        result[purpose] = {
            **{name: round(median, 1) for name, median in medians.items()},
            "auto": auto.precision,
            "share_of_fastest": round(medians[auto.precision] / max(medians.values()), 3),
        }
    limits = {name: os.environ[name] for name in ("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY") if name in os.environ}
    where = conditions(resolve_device("cpu", "fp32"))
    del where["precision"]
    print(json.dumps(where | limits | {"size": args.size, "batch": args.batch} | result))


def training(config: Config, device: Device) -> Callable[[], object]:
    """A function that makes STEPS training steps on random faces."""
    state = build_state(config, CLASSES, device, lambda _: None)
    loader = TrainLoader(random_split(config, STEPS * config.train.batch_size), config.train.batch_size, 0, device)
    step = TrainStep(
        config, device, state.model, classes=CLASSES, steps_per_epoch=STEPS, group=SingleProcess(), progress=Progress()
    )
    state.model.train()

    def run() -> None:
        for batch in loader.epoch(0):
            step.step(state, batch, config.data.image_size)

    return run


def inference(config: Config, device: Device) -> Callable[[], object]:
    """A function that classifies STEPS batches of random faces."""
    model = build_state(config, CLASSES, device, lambda _: None).averaged
    images = device.images(torch.from_numpy(random_faces(config, config.train.batch_size)))
    faster = for_inference(model, device)
    return lambda: forward_batches(faster, [images] * STEPS, device)


def random_split(config: Config, count: int) -> LoadedSplit:
    paths = Paths.of(Path("random"), [f"{number}.png" for number in range(count)])
    labels = np.random.default_rng(0).integers(0, CLASSES, count).astype(np.int32)
    return LoadedSplit("train", ImageList(paths, labels), ArrayStore(random_faces(config, count)))


def random_faces(config: Config, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    side = config.data.image_size
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


if __name__ == "__main__":
    main()
