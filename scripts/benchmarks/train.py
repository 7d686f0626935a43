"""Images per second of training: facecls, the plain torchvision loop and its tuned form, and a bare loop, in turn.

    scripts/bench train FOLDERS --loop torchvision_loop.py [--config configs/lfw20.yaml] [--rounds 3] [--threads 2]

FOLDERS holds train/ and val/. The bare loop has facecls' settings (model, precision, memory layout, optimizer, batch) but
random tensors and no augmentation, averaging or figures: what the processor can do. Every round measures all four, one
after the other, so that a machine that is busy for a while is so for all; what counts is the median of the rounds' ratios.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.nn import functional

from facecls.config.load import load_config
from facecls.config.schema import Config
from facecls.data.dataset import index_dataset
from facecls.data.load import load_split
from facecls.data.sampler import TrainLoader
from facecls.device import Device, resolve_device
from facecls.progress import Progress
from facecls.training.distributed import SingleProcess
from facecls.training.state import build_state
from facecls.training.step import TrainStep

WARM_UP = 3  # steps before the clock starts: kernels are prepared in the first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path)
    parser.add_argument("--loop", type=Path, help="the yardstick's script; without it only facecls and the bare loop run")
    parser.add_argument("--config", type=Path, default=Path("configs/lfw20.yaml"))
    parser.add_argument("--size", type=int, default=112, help="pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24, help="steps of facecls and of the bare loop in a round")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    overrides = [f"data.root={args.folders}", f"data.image_size={args.size}", "train.start_size=null", "train.accumulate=1"]
    config = load_config(args.config, overrides)
    device = resolve_device(config.device, config.precision)
    ours = Ours(config, device)
    contenders: dict[str, Callable[[int], float]] = {
        "facecls": ours.measure,
        "bare loop": lambda steps: bare(config, device, ours.classes, steps),
    }
    if args.loop:
        contenders["torchvision loop"] = lambda _: peer(args, [])
        contenders["torchvision loop, tuned"] = lambda _: peer(args, ["--tuned"])
    rounds = []
    for number in range(args.rounds):
        rounds.append({name: measure(args.steps) for name, measure in contenders.items()})
        said = ", ".join(f"{name} {speed:.1f}" for name, speed in rounds[-1].items())
        print(f"round {number + 1}: {said} images/s", file=sys.stderr, flush=True)
    report(rounds, config, device, args)


class Ours:
    """facecls' own batches and steps, as a training runs them."""

    def __init__(self, config: Config, device: Device) -> None:
        found = index_dataset(config.data, config.split)
        self.classes = len(found.classes)
        self.split = load_split("train", found.splits["train"], found.classes, config.data, Progress().bar, device.torch_device)
        self.config = config
        self.state = build_state(config, self.classes, device, lambda _: None)
        self.batches = TrainLoader(self.split, config.train.batch_size, config.seed, device)
        self.train_step = TrainStep(
            config,
            device,
            self.state.model,
            classes=self.classes,
            steps_per_epoch=self.batches.steps,
            group=SingleProcess(),
            progress=Progress(),
        )

    def measure(self, steps: int) -> float:
        self.state.model.train()
        done, faces, begun = 0, 0, 0.0
        while done < steps + WARM_UP:
            self.state.begin_epoch(self.state.epoch + 1, 0.0)
            for batch in self.batches.epoch(self.state.epoch):
                if done == WARM_UP:
                    wait(self.state.running.sums)
                    begun, faces = time.perf_counter(), 0
                self.train_step.step(self.state, batch, self.config.data.image_size)
                faces += len(batch.labels)
                done += 1
                if done == steps + WARM_UP:
                    break
        wait(self.state.running.sums)
        return faces / (time.perf_counter() - begun)


def bare(config: Config, device: Device, classes: int, steps: int) -> float:
    """The same network and optimizer on one random batch."""
    state = build_state(config, classes, device, lambda _: None)
    batch, size = config.train.batch_size, config.data.image_size
    images = torch.rand(batch, 3, size, size, device=device.torch_device)
    labels = torch.randint(classes, (batch,), device=device.torch_device)
    state.model.train()
    begun = 0.0
    for step in range(steps + WARM_UP):
        if step == WARM_UP:
            wait(images)
            begun = time.perf_counter()
        with device.autocast():
            loss = functional.cross_entropy(state.model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
        state.optimizer.step()
        state.optimizer.zero_grad()
    wait(images)
    return steps * batch / (time.perf_counter() - begun)


def peer(args: argparse.Namespace, more: list[str]) -> float:
    """The second epoch of the yardstick; the first starts its workers and prepares its kernels."""
    words = [sys.executable, str(args.loop), str(args.folders), "--size", str(args.size), "--epochs", "2", *more]
    said = subprocess.run(
        words, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    )
    return float(json.loads(said.stdout.splitlines()[-1])["train_images_per_second"])


def wait(tensor: torch.Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize()


def report(rounds: list[dict[str, float]], config: Config, device: Device, args: argparse.Namespace) -> None:
    print(
        f"{config.model.name}, head {config.head.name}, EMA {config.train.ema:g}, {args.size} pixels, "
        f"batch {config.train.batch_size}, {device}, {args.threads} threads, torch {torch.__version__}, {len(rounds)} rounds"
    )
    for name in rounds[0]:
        speeds = [each[name] for each in rounds]
        ratios = [each["facecls"] / each[name] for each in rounds]
        print(
            f"{name:24} {statistics.median(speeds):7.1f} images/s ({min(speeds):.1f} to {max(speeds):.1f})"
            f"   facecls / it: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
