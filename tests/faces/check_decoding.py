"""Checks in a subprocess that damaged files are decoded as by Pillow alone, or rejected with a reason.

`python -m tests.faces.check_decoding FOLDER CURRENT` checks all files of a folder and prints the counts as JSON, or fails at
the first that is decoded wrongly. The path of the current file is written to CURRENT, in case it kills the process.
"""

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from facecls.errors import ImageError
from facecls.faces.decode import open_image
from facecls.faces.geometry import Geometry, read_face
from facecls.faces.limits import LIMITS
from tests.faces.mutations import original

SECONDS = 20  # for one file
_WIDE = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def check_decoding(path: Path) -> str:
    """`decoded`, or the reason of the rejection; raises AssertionError if Pillow alone decodes something else."""
    size = sum(os.fsencode(path)) % 60 + 4
    try:
        face = read_face(path, Geometry(size, 0.6, "pad" if size % 2 else "crop"))
        assert face.shape == (size, size, 3)
        read = True
    except ImageError:
        read = False
    reason, image = "decoded", None
    try:
        image = open_image(path)
    except ImageError as error:
        reason = error.reason
        assert str(error) == f"{path}: {reason}" and reason and "\n" not in reason, str(error)
        assert error.__cause__ is None and error.__context__ is None
    else:
        assert image.mode == "RGB" and min(image.size) > 0 and not image.info
        assert read, "open_image decodes it, read_face rejects it"
    expected = _decoded_by_pillow(path)
    if expected is not None:
        assert image is not None, f"Pillow decodes it, open_image rejects it: {reason}"
        assert image.size == expected.size
        # Pillow clips wide pixel types, so they cannot be compared
        assert expected.mode in _WIDE or np.array_equal(np.asarray(image), np.asarray(expected))
    return reason


def _decoded_by_pillow(path: Path) -> Image.Image | None:
    """The file decoded by Pillow, upright and on white; None if Pillow warns or fails, or the image is large."""
    if not path.is_file():
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(path, formats=[name for name in LIMITS if name != "HEIF"]) as image:
                if image.width * image.height > 4_000_000:
                    return None
                image.load()
                upright = ImageOps.exif_transpose(image)
            if upright.mode in _WIDE:
                return upright
            if not upright.has_transparency_data:
                return upright.convert("RGB")
            upright = upright.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright).convert("RGB")
    except Exception:
        return None


@dataclass(frozen=True)
class Counts:
    """The outcome for a folder of files."""

    decoded: int
    reasons: dict[str, int]  # of rejections, with how many files each
    memory_growth_mb: int  # peak memory of the process above its memory at the start, MB

    @property
    def files(self) -> int:
        return self.decoded + sum(self.reasons.values())


class WrongDecodingError(Exception):
    """A file that was decoded unlike Pillow, or that hung or killed the process."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


def check_in_subprocess(folder: Path) -> Counts:
    """Checks the files of a folder in a subprocess, which they may kill. Raises WrongDecodingError."""
    folder = folder.resolve()
    current = folder.with_name(folder.name + ".current")
    current.write_bytes(os.fsencode(folder))
    command = [sys.executable, "-W", "error", "-m", "tests.faces.check_decoding", str(folder), str(current)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    if done.returncode != 0:
        end = done.stderr.decode(errors="replace")[-2000:]
        raise WrongDecodingError(Path(os.fsdecode(current.read_bytes())), f"exit code {done.returncode}\n{end}")
    return Counts(**json.loads(done.stdout))


def _check_all(folder: Path, current: Path) -> Counts:
    paths = sorted(folder.iterdir())
    with tempfile.NamedTemporaryFile(suffix=".jpg") as warm_up:
        original().save(warm_up.name)
        check_decoding(Path(warm_up.name))
    before = _peak()
    reasons: Counter[str] = Counter()
    for path in paths:
        current.write_bytes(os.fsencode(path))
        signal.alarm(SECONDS)  # not handled, so it kills the process, also inside C code
        reasons[check_decoding(path)] += 1
    signal.alarm(0)
    return Counts(reasons.pop("decoded", 0), dict(reasons), (_peak() - before) // 1_000_000)


def _peak() -> int:
    """Peak memory of this process, bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # on Linux ru_maxrss includes the memory of the parent at the fork
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))  # protects the machine
    print(json.dumps(asdict(_check_all(Path(sys.argv[1]), Path(sys.argv[2])))))
