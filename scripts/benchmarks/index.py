"""How long FaceFolder and torchvision's ImageFolder take to list a folder, and how much memory their lists take.

    python scripts/benchmarks/index.py [--files 1000000] [--classes 10000]

Makes hard links to one small image in a temporary folder, and lists it with each in a process of its own.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

_LIST = """
import json, resource, sys, time
import torch
from facecls.data.folder import FaceFolder
from torchvision.datasets import ImageFolder

def peak():  # MB; ru_maxrss is in bytes on macOS, in KB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)

before, begun = peak(), time.perf_counter()
found = {"FaceFolder": FaceFolder, "ImageFolder": ImageFolder}[sys.argv[2]](sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - begun, "peak": peak(), "before": before, "files": len(found)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3, help="the fastest of so many is printed")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "faces"
        begun = time.perf_counter()
        link_images(root, asked.files, asked.classes)
        print(f"{asked.files:,} files in {asked.classes:,} classes, made in {time.perf_counter() - begun:.0f} s")
        runs: dict[str, list[dict[str, float]]] = {"FaceFolder": [], "ImageFolder": []}
        for _ in range(asked.repeat):  # in turns, so that both meet the same neighbours on the machine
            for name, rows in runs.items():
                rows.append(listed(root, name))
    print(f"{'':12}{'seconds':>9}{'peak MB':>9}{'added MB':>10}{'bytes a file':>14}")
    best = {name: min(rows, key=lambda row: row["seconds"]) for name, rows in runs.items()}
    for name, row in best.items():
        added = row["peak"] - row["before"]
        print(f"{name:12}{row['seconds']:9.2f}{row['peak']:9.0f}{added:10.1f}{added * 1e6 / asked.files:14.0f}")
    ours, theirs = best["FaceFolder"], best["ImageFolder"]
    print(
        f"FaceFolder takes 1/{(theirs['peak'] - theirs['before']) / (ours['peak'] - ours['before']):.1f} of the memory "
        f"and {ours['seconds'] / theirs['seconds']:.2f} of the time"
    )


def link_images(root: Path, files: int, classes: int) -> None:
    """Hard links in `classes` folders; a new image for every 50,000, because a file can have only so many names."""
    root.mkdir(parents=True)
    count = 0
    for number in range(classes):
        folder = root / f"person_{number:05}"
        folder.mkdir()
        for _ in range(files * number // classes, files * (number + 1) // classes):
            if count % 50_000 == 0:
                image = root.parent / f"{count}.png"
                Image.new("RGB", (1, 1)).save(image)
            os.link(image, f"{folder}/img_{count:07}.png")
            count += 1


def listed(root: Path, name: str) -> dict[str, float]:
    """What listing `root` took, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", _LIST, str(root), name], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
