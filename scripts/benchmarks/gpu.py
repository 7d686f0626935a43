"""Images per second of training on a GPU: facecls with its faces on the device, the bare loop, and the tuned yardstick.

    scripts/bench gpu --loop torchvision_loop.py [--faces 100000] [--size 112] [--batch 512] [--folder DIR]

Draws synthetic faces (each file once, then under other names by hard links, so that 100,000 take minutes, not hours), trains
ResNet18 on them with `store: device`, and prints images/s, the share of the bare loop on random tensors, and the ratio to
the yardstick with its workers on the same JPEG files. Runs on a CPU too, at small size, to try the script.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from train import Ours, bare

from facecls.config.load import load_config
from facecls.device import resolve_device
from facecls.synthetic.write import write_faces

CONFIG = """
data: {{root: {root}, image_size: {size}, store: device}}
head: {{name: cosface}}
train: {{batch_size: {batch}}}
"""
DRAWN = 2_000  # images that are drawn; the others are links to them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", type=Path, help="the yardstick's script")
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where the faces are, or are to be")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        if not (folder / "train").exists():
            lay_out(folder, args.faces, args.people)
        config_file = Path(name) / "gpu.yaml"
        config_file.write_text(CONFIG.format(root=folder, size=args.size, batch=args.batch))
        config = load_config(config_file)
        device = resolve_device("auto", "auto")
        ours = Ours(config, device)
        speeds = [ours.measure(args.steps) for _ in range(3)]
        bares = [bare(config, device, ours.classes, args.steps) for _ in range(3)]
        facecls, limit = sorted(speeds)[1], sorted(bares)[1]
        name = torch.cuda.get_device_name() if device.type == "cuda" else "cpu"
        print(f"{name}, {device}, torch {torch.__version__}, {len(ours.split)} faces, {args.size} pixels, batch {args.batch}")
        print(f"facecls, store device   {facecls:10.0f} images/s ({min(speeds):.0f} to {max(speeds):.0f})")
        print(f"bare loop               {limit:10.0f} images/s   facecls / it: {facecls / limit:.3f}")
        if args.loop:
            words = [sys.executable, str(args.loop), str(folder), "--size", str(args.size), "--batch", str(args.batch)]
            # Its second epoch: the first starts its workers and prepares its kernels.
            said = subprocess.run([*words, "--epochs", "2", "--tuned"], check=True, capture_output=True, text=True)
            yardstick = json.loads(said.stdout.splitlines()[-1])["train_images_per_second"]
            print(f"torchvision loop, tuned {yardstick:10.0f} images/s   facecls / it: {facecls / yardstick:.2f}")


def lay_out(folder: Path, faces: int, people: int) -> None:
    """`folder/{train,val}/NAME/file.jpg`, with a hundredth of the faces in val."""
    drawn = folder / "drawn"
    each = max(2, min(faces, DRAWN) // people)
    for _ in write_faces(drawn, people=people, each=each, seed=0):
        pass
    copies = -(-faces // (people * each))
    for person in drawn.iterdir():
        jpegs = [path for path in person.iterdir() if path.suffix == ".jpg"]
        for split, count in (("train", copies * each), ("val", max(1, copies * each // 100))):
            home = folder / split / person.name
            home.mkdir(parents=True)
            for number in range(count):
                os.link(jpegs[number % len(jpegs)], home / f"{number:06d}.jpg")


if __name__ == "__main__":
    main()
