"""Training throughput of facecls, a bare PyTorch loop, and torchvision's reference loop, plain and tuned (images per second).

    scripts/bench train FOLDERS --loop torchvision_loop.py [--config configs/lfw20.yaml] [--rounds 3] [--threads 2]

FOLDERS holds train/ and val/. The bare loop has the same model, precision, memory format, optimizer and batch size as facecls,
but random tensors and no augmentation, weight averaging or metrics: an upper bound. Every round measures all in turn, so that
other load on the machine affects all of them; the result is the median of the rounds' ratios.
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
from _conditions import conditions_line
from torch.nn import functional

from facecls.config.load import load_config
from facecls.config.schema import Config
from facecls.data.dataset import index_dataset
from facecls.data.load import load_split
from facecls.data.sampler import TrainLoader
from facecls.device import Device, configure_process, resolve_device
from facecls.progress import Progress
from facecls.training.distributed import SingleProcess
from facecls.training.state import build_state
from facecls.training.step import TrainStep

WARM_UP = 3  # untimed steps; the first ones prepare the kernels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path)
    parser.add_argument("--loop", type=Path, help="script of the torchvision loop; default: only facecls and the bare loop run")
    parser.add_argument("--config", type=Path, default=Path("configs/lfw20.yaml"))
    parser.add_argument("--size", type=int, default=112, help="side in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=24, help="timed steps of facecls and of the bare loop per round")
    parser.add_argument("--threads", type=int, help="default: at most the available cores")
    args = parser.parse_args()
    configure_process(args.threads)
    overrides = [f"data.root={args.folders}", f"data.image_size={args.size}", "train.start_size=null", "train.accumulate=1"]
    config = load_config(args.config, overrides)
    device = resolve_device(config.device, config.precision)
    facecls = FaceclsLoop(config, device)
    contenders: dict[str, Callable[[int], float]] = {
        "facecls": facecls.measure,
        "bare loop": lambda steps: measure_bare_loop(config, device, facecls.classes, steps),
    }
    if args.loop:
        contenders["torchvision loop"] = lambda _: measure_baseline(args, [])
        contenders["torchvision loop, tuned"] = lambda _: measure_baseline(args, ["--tuned"])
    rounds = []
    for number in range(args.rounds):
        rounds.append({name: measure(args.steps) for name, measure in contenders.items()})
        speeds = ", ".join(f"{name} {speed:.1f}" for name, speed in rounds[-1].items())
        print(f"round {number + 1}: {speeds} images/s", file=sys.stderr, flush=True)
    report(rounds, config, device, args.size)


class FaceclsLoop:
    """The batches and steps of a facecls training."""

    def __init__(self, config: Config, device: Device) -> None:
        index = index_dataset(config.data, config.split)
        self.classes = len(index.classes)
        self.split = load_split("train", index.splits["train"], index.classes, config.data, Progress().bar, device.torch_device)
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
        done, images, start = 0, 0, 0.0
        while done < steps + WARM_UP:
            self.state.begin_epoch(self.state.epoch + 1, 0.0)
            for batch in self.batches.epoch(self.state.epoch):
                if done == WARM_UP:
                    synchronize(self.state.running.sums)
                    start, images = time.perf_counter(), 0
                self.train_step.step(self.state, batch, self.config.data.image_size)
                images += len(batch.labels)
                done += 1
                if done == steps + WARM_UP:
                    break
        synchronize(self.state.running.sums)
        return images / (time.perf_counter() - start)


def measure_bare_loop(config: Config, device: Device, classes: int, steps: int) -> float:
    """Trains the same model with the same optimizer on one random batch."""
    state = build_state(config, classes, device, lambda _: None)
    batch, size = config.train.batch_size, config.data.image_size
    images = torch.rand(batch, 3, size, size, device=device.torch_device)
    labels = torch.randint(classes, (batch,), device=device.torch_device)
    state.model.train()
    start = 0.0
    for step in range(steps + WARM_UP):
        if step == WARM_UP:
            synchronize(images)
            start = time.perf_counter()
        with device.autocast():
            loss = functional.cross_entropy(state.model(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's stub
        state.optimizer.step()
        state.optimizer.zero_grad()
    synchronize(images)
    return steps * batch / (time.perf_counter() - start)


def measure_baseline(args: argparse.Namespace, options: list[str]) -> float:
    """Returns the speed of the second epoch; in the first the loop starts its workers and prepares its kernels."""
    command = [sys.executable, str(args.loop), str(args.folders), "--size", str(args.size), "--epochs", "2", *options]
    environment = os.environ | {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return float(json.loads(done.stdout.splitlines()[-1])["train_images_per_second"])


def synchronize(tensor: torch.Tensor) -> None:
    if tensor.device.type == "cuda":
        torch.cuda.synchronize()


def report(rounds: list[dict[str, float]], config: Config, device: Device, size: int) -> None:
    print(
        f"{config.model.name}, head {config.head.name}, EMA {config.train.ema:g}, {size} pixels, "
        f"batch {config.train.batch_size}; {conditions_line(device)}; {len(rounds)} rounds"
    )
    for name in rounds[0]:
        speeds = [each[name] for each in rounds]
        ratios = [each["facecls"] / each[name] for each in rounds]
        print(
            f"{name:24} {statistics.median(speeds):7.1f} images/s ({min(speeds):.1f} to {max(speeds):.1f})"
            f"   facecls is {statistics.median(ratios):.3f} times as fast ({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
