"""Time and memory that FaceFolder and torchvision's ImageFolder take to list a folder.

    scripts/bench index [--files 1000000] [--classes 10000]

Lists a temporary folder of hard links to small images with each of them, in separate processes.
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

from facecls.processor import processor

_LIST = """
import json, resource, sys, time
import torch
from facecls.data.folder import FaceFolder
from torchvision.datasets import ImageFolder

def peak():  # MB; ru_maxrss is in bytes on macOS, in KB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)

before, start = peak(), time.perf_counter()
dataset = {"FaceFolder": FaceFolder, "ImageFolder": ImageFolder}[sys.argv[2]](sys.argv[1])
print(json.dumps({"seconds": time.perf_counter() - start, "peak": peak(), "before": before, "files": len(dataset)}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the fastest is printed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "faces"
        start = time.perf_counter()
        link_images(root, args.files, args.classes)
        print(
            f"{args.files:,} files in {args.classes:,} classes, created in {time.perf_counter() - start:.0f} s; {processor()}"
        )
        runs: dict[str, list[dict[str, float]]] = {"FaceFolder": [], "ImageFolder": []}
        for _ in range(args.repeat):  # in turns, so that other load on the machine affects both
            for name, rows in runs.items():
                rows.append(measure(root, name))
    print(f"{'':12}{'seconds':>9}{'peak MB':>9}{'added MB':>10}{'bytes per file':>16}")
    best = {name: min(rows, key=lambda row: row["seconds"]) for name, rows in runs.items()}
    for name, row in best.items():
        added = row["peak"] - row["before"]
        print(f"{name:12}{row['seconds']:9.2f}{row['peak']:9.0f}{added:10.1f}{added * 1e6 / args.files:16.0f}")
    (memory, seconds), (reference_memory, reference_seconds) = (
        (row["peak"] - row["before"], row["seconds"]) for row in best.values()
    )
    print(f"FaceFolder takes 1/{reference_memory / memory:.1f} of the memory and {seconds / reference_seconds:.2f} of the time")


def link_images(root: Path, files: int, classes: int) -> None:
    """Creates hard links in `classes` folders, to one image per 50,000 links, as file systems limit the links of a file."""
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


def measure(root: Path, name: str) -> dict[str, float]:
    """Lists `root` in another process; returns what `_LIST` prints."""
    done = subprocess.run([sys.executable, "-c", _LIST, str(root), name], check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


if __name__ == "__main__":
    main()
