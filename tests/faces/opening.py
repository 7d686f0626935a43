"""Judges how a damaged file is opened: as plain Pillow opens it, or with a reason why not; in a process of its own.

`python -m tests.faces.opening FOLDER CURRENT` judges all files of a folder and prints the counts as JSON, or fails at
the first that is opened wrongly. The file in hand is named in CURRENT, for whoever finds the process dead.
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
from facecls.faces.decode import LIMITS, open_image
from facecls.faces.geometry import Geometry, read_face
from tests.faces.mutations import original

SECONDS = 20  # for one file
_WIDE = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def check_opens(path: Path) -> str:
    """`decoded`, or the reason why a file was not; raises AssertionError where plain Pillow says otherwise."""
    size = sum(os.fsencode(path)) % 60 + 4
    try:
        face = read_face(path, Geometry(size, 0.6, "pad" if size % 2 else "crop"))
        assert face.shape == (size, size, 3)
        read = True
    except ImageError:
        read = False
    reason, ours = "decoded", None
    try:
        ours = open_image(path)
    except ImageError as error:
        reason = error.reason
        assert str(error) == f"{path}: {reason}" and reason and "\n" not in reason, str(error)
        assert error.__cause__ is None and error.__context__ is None
    else:
        assert ours.mode == "RGB" and min(ours.size) > 0 and not ours.info
        assert read, "opens, and gives no face"
    plain = _plainly_opened(path)
    if plain is not None:
        assert ours is not None, f"plain Pillow opens it, we say: {reason}"
        assert ours.size == plain.size
        # Pillow clips wide numbers to white, and has nothing to compare with
        assert plain.mode in _WIDE or np.array_equal(np.asarray(ours), np.asarray(plain))
    return reason


def _plainly_opened(path: Path) -> Image.Image | None:
    """What plain Pillow makes of a file, upright and on white; None if it complains, or the image is large."""
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
    """What became of a folder of files."""

    decoded: int
    reasons: dict[str, int]  # how often each was given
    grown_mb: int  # memory, in MB, by which the process grew at most

    @property
    def files(self) -> int:
        return self.decoded + sum(self.reasons.values())


class OpenedWronglyError(Exception):
    """A file that was neither decoded as Pillow does it nor reported; or one that hung, or ended the process."""

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path}: {what}")
        self.path = path


def check_apart(folder: Path) -> Counts:
    """Judges the files of a folder in a process of their own, which they may kill. Raises OpenedWronglyError."""
    folder = folder.resolve()
    current = folder.with_name(folder.name + ".current")
    current.write_bytes(os.fsencode(folder))
    command = [sys.executable, "-W", "error", "-m", "tests.faces.opening", str(folder), str(current)]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    if done.returncode != 0:
        end = done.stderr.decode(errors="replace")[-2000:]
        raise OpenedWronglyError(Path(os.fsdecode(current.read_bytes())), f"exit code {done.returncode}\n{end}")
    return Counts(**json.loads(done.stdout))


def _check_all(folder: Path, current: Path) -> Counts:
    paths = sorted(folder.iterdir())
    with tempfile.NamedTemporaryFile(suffix=".jpg") as warm_up:
        original().save(warm_up.name)
        check_opens(Path(warm_up.name))
    before = _peak()
    reasons: Counter[str] = Counter()
    for path in paths:
        current.write_bytes(os.fsencode(path))
        signal.alarm(SECONDS)  # nobody listens: it ends the process, even inside of C
        reasons[check_opens(path)] += 1
    signal.alarm(0)
    return Counts(reasons.pop("decoded", 0), dict(reasons), (_peak() - before) // 1_000_000)


def _peak() -> int:
    """Bytes of memory that this process has held at most."""
    status = Path("/proc/self/status")
    if status.exists():  # Linux counts the memory of who started a process into its ru_maxrss
        return 1024 * next(int(line.split()[1]) for line in status.read_text().splitlines() if "VmHWM" in line)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.getrlimit(resource.RLIMIT_AS)[1]))  # spare the machine
    print(json.dumps(asdict(_check_all(Path(sys.argv[1]), Path(sys.argv[2])))))
