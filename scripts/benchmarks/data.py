"""How many faces a second each store gives, beside a torch DataLoader over torchvision's ImageFolder on the same images.

    scripts/bench data [FOLDER] [--size 112] [--batch 64] [--seconds 5]

Without a folder, synthetic faces are drawn in a temporary one. Each way goes through epochs in random order, as training
does; the first batches, before which workers are started, do not count. `waited` is the share of time for which training
steps of the default network had to wait for their faces.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from facecls.config.schema import AugmentConfig, DataConfig, HeadConfig, ModelConfig
from facecls.data.augment import Augment
from facecls.data.dataset import ImageList
from facecls.data.folder import FaceFolder
from facecls.data.load import load_split
from facecls.data.sampler import TrainLoader
from facecls.device import Device, resolve_device
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
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader over ImageFolder")
    parser.add_argument("--seconds", type=float, default=5.0, help="each way is measured twice for about this long")
    parser.add_argument("--images", type=int, default=960, help="that are drawn where no folder is named")
    parser.add_argument("--device", default="auto")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or drawn(Path(temporary) / "faces", asked.images)
        device = resolve_device(asked.device, "auto")
        count = len(FaceFolder(folder))
        print(f"{count} images of {folder.name}, {asked.size} pixels, batches of {asked.batch}; {device}")
        ways: dict[str, Epoch] = {
            "ImageFolder + DataLoader": dataloader(folder, asked.size, asked.batch, asked.workers, device)
        }
        for store in STORES:
            ways[store] = of_store(store, folder, asked.size, asked.batch, Path(temporary) / "cache", device)
        print(f"{'':26}{'images/s':>10}{'x':>8}{'waited':>9}")
        theirs = 0.0
        for name, epoch in ways.items():
            speed = measured(epoch, asked.seconds, lambda _: None, device)[0]
            theirs = theirs or speed
            data_wait = measured(epoch, asked.seconds, Training(asked.size, device), device)[1]
            print(f"{name:26}{speed:10,.0f}{speed / theirs:8.1f}{data_wait:9.1%}")


def drawn(folder: Path, images: int) -> Path:
    """A folder of synthetic faces."""
    for _ in write_faces(folder, people=12, each=-(-images // 12), seed=0):
        pass
    return folder


def dataloader(folder: Path, size: int, batch: int, workers: int, device: Device) -> Epoch:
    """What people do today: decode, resize and crop in workers, anew in every epoch."""
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


def of_store(store: str, folder: Path, size: int, batch: int, cache: Path, device: Device) -> Epoch:
    """The batches of a training, without augmentation."""
    data = DataConfig.model_validate(
        {"root": folder, "image_size": size, "store": store, "cache_dir": cache, "on_bad_image": "skip"}
    )
    found = FaceFolder(folder)
    image_list = ImageList(found.paths, found.labels)
    batches = TrainLoader(
        load_split("train", image_list, found.classes, data, no_progress, device.torch_device), batch, 0, device
    )
    return lambda epoch: (step.faces for step in batches.epoch(epoch))


class Training:
    """Steps of the default network, without moving its weights: something that waits."""

    def __init__(self, size: int, device: Device) -> None:
        self.size = size
        self.device = device
        self.augment = Augment(AugmentConfig())
        self.network = device.place(build_model(ModelConfig(), HeadConfig(), classes=12, image_size=size))

    def __call__(self, faces: Tensor) -> None:
        draws = torch.rand(len(faces), 14)
        with self.device.autocast():
            loss = self.network(self.augment(faces, draws, self.size)).square().mean()
        loss.backward()


def measured(epochs: Epoch, seconds: float, use: Callable[[Tensor], object], device: Device) -> tuple[float, float]:
    """(images/s, share of time waited for them) from the fourth batch on."""
    begun, data_wait, images = 0.0, 0.0, 0
    batches = (faces for number in itertools.count() for faces in epochs(number))
    for step in itertools.count():
        if step == 3:
            _finish(device)
            begun, data_wait, images = time.perf_counter(), 0.0, 0
        asked = time.perf_counter()
        faces = next(batches)
        data_wait += time.perf_counter() - asked
        use(faces)
        images += len(faces)
        if step > 3 and time.perf_counter() - begun > seconds:
            break
    _finish(device)
    took = time.perf_counter() - begun
    return images / took, data_wait / took


def _finish(device: Device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
