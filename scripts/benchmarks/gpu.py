"""Training throughput on a GPU: facecls with `store: device`, a bare PyTorch loop, and torchvision's tuned loop.

    scripts/bench gpu --loop torchvision_loop.py [--faces 100000] [--size 112] [--batch 512] [--folder DIR]

Draws 2,000 synthetic faces and hard-links them to the requested number of files, then trains ResNet18. Prints images/s, and how
fast facecls is relative to the bare loop on random tensors and to torchvision's loop, whose workers read the same JPEG files. A
CPU with few faces serves to try the script.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from _conditions import conditions_line
from train import FaceclsLoop, measure_bare_loop

from facecls.config.load import load_config
from facecls.device import configure_process, resolve_device
from facecls.synthetic.write import write_faces

CONFIG = """
data: {{root: {root}, image_size: {size}, store: device}}
head: {{name: cosface}}
train: {{batch_size: {batch}}}
"""
DRAWN = 2_000  # images; the others are hard links to them


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", type=Path, help="script of the torchvision loop; default: not measured")
    parser.add_argument("--faces", type=int, default=100_000)
    parser.add_argument("--people", type=int, default=100)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="where the faces are, or will be drawn; default: a temporary folder")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        if not (folder / "train").exists():
            write_dataset(folder, args.faces, args.people)
        config_file = Path(name) / "gpu.yaml"
        config_file.write_text(CONFIG.format(root=folder, size=args.size, batch=args.batch))
        config = load_config(config_file)
        configure_process(None)
        device = resolve_device("auto", "auto")
        facecls = FaceclsLoop(config, device)
        speeds = [facecls.measure(args.steps) for _ in range(3)]
        speed = statistics.median(speeds)
        bare = statistics.median(measure_bare_loop(config, device, facecls.classes, args.steps) for _ in range(3))
        print(f"{conditions_line(device)}; {len(facecls.split)} faces, {args.size} pixels, batch {args.batch}")
        print(f"facecls                 {speed:10.0f} images/s ({min(speeds):.0f} to {max(speeds):.0f})")
        print(f"bare loop               {bare:10.0f} images/s   facecls is {speed / bare:.3f} times as fast")
        if args.loop:
            command = [sys.executable, str(args.loop), str(folder), "--size", str(args.size), "--batch", str(args.batch)]
            # The speed of the second epoch; in the first the loop starts its workers and prepares its kernels.
            done = subprocess.run([*command, "--epochs", "2", "--tuned"], check=True, capture_output=True, text=True)
            baseline = json.loads(done.stdout.splitlines()[-1])["train_images_per_second"]
            print(f"torchvision loop, tuned {baseline:10.0f} images/s   facecls is {speed / baseline:.2f} times as fast")


def write_dataset(folder: Path, faces: int, people: int) -> None:
    """Writes `folder/{train,val}/NAME/file.jpg`, with a hundredth of the faces in val."""
    drawn = folder / "drawn"
    each = max(2, min(faces, DRAWN) // people)
    for _ in write_faces(drawn, people=people, each=each, seed=0):
        pass
    copies = -(-faces // (people * each))
    for person in drawn.iterdir():
        jpegs = [path for path in person.iterdir() if path.suffix == ".jpg"]
        for split, count in (("train", copies * each), ("val", max(1, copies * each // 100))):
            target = folder / split / person.name
            target.mkdir(parents=True)
            for number in range(count):
                os.link(jpegs[number % len(jpegs)], target / f"{number:06d}.jpg")


if __name__ == "__main__":
    main()
