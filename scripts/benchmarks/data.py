"""Images per second of each store, and of a torch DataLoader over torchvision's ImageFolder on the same images.

    scripts/bench data [FOLDER] [--size 112] [--batch 64] [--seconds 5]

Without a folder, synthetic faces are drawn into a temporary one. Each loader runs epochs in random order, as training does;
its first three batches, during which workers start, are not timed. `data wait` is the share of time that training steps of
the default network were blocked on the loader.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from _conditions import conditions_line
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from facecls.config.schema import AugmentConfig, DataConfig, HeadConfig, ModelConfig
from facecls.data.augment import Augment, draw
from facecls.data.folder import FaceFolder
from facecls.data.load import load_split
from facecls.data.sampler import TrainLoader
from facecls.device import Device, configure_process, resolve_device
from facecls.models import build_model
from facecls.progress import no_progress
from facecls.synthetic.write import write_faces

STORES = ("memory", "disk", "device", "stream")
Epoch = Callable[[int], Iterator[Tensor]]  # uint8 batches on the device


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", help="CLASS/file")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2, help="workers of the DataLoader over ImageFolder")
    parser.add_argument("--seconds", type=float, default=5.0, help="per measurement; each loader is measured twice")
    parser.add_argument("--images", type=int, default=960, help="number of synthetic images, without a folder")
    parser.add_argument("--device", default="auto")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or draw_faces(Path(temporary) / "faces", args.images)
        configure_process(None)
        device = resolve_device(args.device, "auto")
        count = len(FaceFolder(folder))
        print(f"{count} images of {folder.name}, {args.size} pixels, batches of {args.batch}; {conditions_line(device)}")
        loaders: dict[str, Epoch] = {
            "ImageFolder + DataLoader": imagefolder_epochs(folder, args.size, args.batch, args.workers, device)
        }
        for store in STORES:
            loaders[store] = store_epochs(store, folder, args.size, args.batch, Path(temporary) / "cache", device)
        print(f"{'':26}{'images/s':>10}{'x':>8}{'data wait':>11}")
        baseline = 0.0
        for name, epoch in loaders.items():
            speed = measure(epoch, args.seconds, lambda _: None, device)[0]
            baseline = baseline or speed
            data_wait = measure(epoch, args.seconds, Training(args.size, device), device)[1]
            print(f"{name:26}{speed:10,.0f}{speed / baseline:8.1f}{data_wait:11.1%}")


def draw_faces(folder: Path, images: int) -> Path:
    """Draws synthetic faces."""
    for _ in write_faces(folder, people=12, each=-(-images // 12), seed=0):
        pass
    return folder


def imagefolder_epochs(folder: Path, size: int, batch: int, workers: int, device: Device) -> Epoch:
    """The usual way: decode, resize and crop in workers, in every epoch."""
    transform = v2.Compose([v2.Resize(size), v2.CenterCrop(size), v2.PILToTensor()])
    loader = DataLoader(
        ImageFolder(folder, transform),
        batch_size=batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=True,
        pin_memory=device.type == "cuda",
    )
    return lambda _: (device.send(images).permute(0, 2, 3, 1) for images, _ in loader)


def store_epochs(store: str, folder: Path, size: int, batch: int, cache: Path, device: Device) -> Epoch:
    """The training batches of a store, without augmentation."""
    data = DataConfig.model_validate(
        {"root": folder, "image_size": size, "store": store, "cache_dir": cache, "on_bad_image": "skip"}
    )
    faces = FaceFolder(folder)
    split = load_split("train", faces.image_list, faces.classes, data, no_progress, device.torch_device)
    loader = TrainLoader(split, batch, 0, device)
    return lambda epoch: (step.faces for step in loader.epoch(epoch))


class Training:
    """Forward and backward passes of the default network, without updating its weights."""

    def __init__(self, size: int, device: Device) -> None:
        self.size = size
        self.device = device
        self.augment = Augment(AugmentConfig())
        self.network = device.place(build_model(ModelConfig(), HeadConfig(), classes=12, image_size=size))

    def __call__(self, faces: Tensor) -> None:
        draws = draw(len(faces), 0, 0, 0)
        with self.device.autocast():
            loss = self.network(self.augment(faces, draws, self.size)).square().mean()
        loss.backward()


def measure(epochs: Epoch, seconds: float, use: Callable[[Tensor], object], device: Device) -> tuple[float, float]:
    """(images/s, share of time blocked on the loader), from the fourth batch on."""
    start, data_wait, images = 0.0, 0.0, 0
    batches = (faces for number in itertools.count() for faces in epochs(number))
    for step in itertools.count():
        if step == 3:
            _finish(device)
            start, data_wait, images = time.perf_counter(), 0.0, 0
        requested = time.perf_counter()
        faces = next(batches)
        data_wait += time.perf_counter() - requested
        use(faces)
        images += len(faces)
        if step > 3 and time.perf_counter() - start > seconds:
            break
    _finish(device)
    elapsed = time.perf_counter() - start
    return images / elapsed, data_wait / elapsed


def _finish(device: Device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
