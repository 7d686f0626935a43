"""Makes damaged and odd picture files, the same for the same seed, and judges how each is opened.

`python mutations.py FOLDER CURRENT` judges all files of a folder and prints the counts as JSON, or fails at the first
that is opened wrongly. The file in hand is named in the file CURRENT, for whoever finds the process dead.
"""

import io
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageOps

from facecls.errors import ImageError
from facecls.faces.geometry import Geometry, read_face
from facecls.faces.image import LIMITS, open_image

WIDTH, HEIGHT = 61, 47  # primes, so that these numbers stand in a file for nothing but its size
SECONDS = 20  # for one file
_WIDE = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")


def picture(mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """A picture with slopes, an edge and some noise, in which no turn and no shift goes unseen."""
    y, x = np.mgrid[0 : size[1], 0 : size[0]] / max(size)
    channels = np.stack([x * 255, y * 255, np.where(x > 0.6 * y + 0.2, 220, 40)], axis=-1)
    channels += np.random.default_rng(0).integers(0, 16, channels.shape)
    rgb = Image.fromarray(np.clip(channels, 0, 255).astype(np.uint8))
    if mode == "RGBA":
        rgb.putalpha(rgb.getchannel("R"))
        return rgb
    if mode == "I;16":
        return Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    return rgb.convert(mode)


def originals() -> dict[str, bytes]:
    """Valid files by name, in every format that Pillow both writes and we read."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a face"
    turned = exif.tobytes()
    mirrored = picture().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    ways: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "baseline.jpg": (picture(), {"quality": 80, "exif": turned, "dpi": (72, 72)}),
        "progressive.jpg": (picture(), {"progressive": True, "exif": turned}),
        "cmyk.jpg": (picture("CMYK"), {}),
        "rgb.png": (picture(), {"exif": turned}),
        "palette.png": (picture("P"), {"transparency": 3}),
        "alpha.png": (picture("RGBA"), {}),
        "grey16.png": (picture("I;16"), {}),
        "two.gif": (picture("P"), {"save_all": True, "append_images": [mirrored.convert("P")], "transparency": 9}),
        "rgb.bmp": (picture(), {}),
        "palette.bmp": (picture("P"), {}),
        "lossy.webp": (picture(), {"exif": turned}),
        "lossless.webp": (picture("RGBA"), {"lossless": True}),
        "two.webp": (picture(), {"save_all": True, "append_images": [mirrored]}),
        "raw.tif": (picture(), {"exif": turned}),
        "lzw.tif": (picture("RGBA"), {"compression": "tiff_lzw"}),
        "deflate.tif": (picture("CMYK"), {"compression": "tiff_adobe_deflate"}),
        "float.tif": (picture("F"), {}),
        "colour.ppm": (picture(), {}),
        "grey.pgm": (picture("L"), {}),
        "grey16.pgm": (picture("I"), {}),
        "bits.pbm": (picture("1"), {}),
        "rgb.avif": (picture(), {"speed": 10, "exif": turned}),
        "rgb.jp2": (picture(), {}),
        "rgb.j2k": (picture("RGBA"), {"no_jp2": True}),
    }
    files = {}
    for name, (image, options) in ways.items():
        stream = io.BytesIO()
        stream.name = name  # by which JPEG 2000 tells a bare codestream
        image.save(stream, Image.registered_extensions()[Path(name).suffix], **options)
        files[name] = stream.getvalue()
    return files


def write_cut(folder: Path) -> list[Path]:
    """Writes every original cut at each tenth."""
    paths = []
    for name, data in originals().items():
        for tenth in range(10):
            paths.append(folder / f"tenth{tenth}-{name}")
            paths[-1].write_bytes(data[: len(data) * tenth // 10])
    return paths


def write_damaged(folder: Path, seed: int, each: int) -> list[Path]:
    """Writes every original `each` times, damaged in ways that `seed` draws."""
    files = originals()
    paths = []
    for name, data in files.items():
        for number in range(each):
            chance = Random(f"{seed} {name} {number}")
            damage = chance.choice(DAMAGES)
            damaged = damage(data, chance)
            if chance.random() < 0.1:  # its head on another's tail
                damaged = damaged[: len(damaged) // 2] + chance.choice(list(files.values()))[len(damaged) // 2 :]
            if chance.random() < 0.8:
                damaged = _with_png_checksums(damaged)
            paths.append(folder / f"{damage.__name__.strip('_')}{number}-{name}")
            paths[-1].write_bytes(damaged)
    return paths


def write_oddities(folder: Path) -> dict[Path, str | None]:
    """Writes what is no picture, or is one under a strange name; with the reason expected, None if it opens."""
    files = originals()
    expected: dict[Path, str | None] = {}

    def put(name: str, data: bytes, reason: str | None) -> None:
        (folder / name).write_bytes(data)
        expected[folder / name] = reason

    for name, data in files.items():
        put(f"wrong-extension-{name}{'.png' if name.endswith('jpg') else '.jpg'}", data, None)
    for name in ("лицо.jpg", "😀.jpg", "two\nlines.jpg", "-dash.jpg", "a" * 246 + ".jpg", "\udcff\udcfe.jpg", "no suffix"):
        put(name, files["baseline.jpg"], None)
    no_picture = "is not a picture that can be read"
    put("empty.jpg", b"", "is empty")
    put("page.jpg", b"<!doctype html><title>403 Forbidden</title>", no_picture)
    put("text.png", b"not a picture\n" * 99, no_picture)
    put("zeros.bmp", bytes(4096), no_picture)
    put("program.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", no_picture)
    put("paper.jpg", b"%PDF-1.7\n" * 99, no_picture)
    put("drawing.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", no_picture)
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "fifo.jpg")
    (folder / "dead.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "alive.jpg").symlink_to("no suffix")
    (folder / "closed.jpg").write_bytes(files["baseline.jpg"])
    (folder / "closed.jpg").chmod(0)
    with socket.socket(socket.AF_UNIX) as ear:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path has at most 107 bytes
        ear.bind("socket.jpg")
        os.chdir(here)
    irregular = dict.fromkeys(("fifo.jpg", "zero.jpg", "socket.jpg"), "is not a regular file")
    links = {"dead.jpg": "is a link to nothing", "loop.jpg": "is a link that leads to itself", "alive.jpg": None}
    closed = {"closed.jpg": None if os.geteuid() == 0 else "permission denied"}
    for name, reason in {"folder.jpg": "is a folder", **irregular, **links, **closed}.items():
        expected[folder / name] = reason
    return expected


def _cut(data: bytes, chance: Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _flip(data: bytes, chance: Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        damaged[chance.randrange(len(damaged))] = chance.choice([0, 255, chance.randrange(256)])
    return bytes(damaged)


def _flip_header(data: bytes, chance: Random) -> bytes:
    return _flip(data[:200], chance) + data[200:]


def _wipe(data: bytes, chance: Random) -> bytes:
    start, length = chance.randrange(len(data)), chance.choice([4, 32, 512])
    return (data[:start] + bytes(length) + data[start + length :])[: len(data)]


def _leave_out(data: bytes, chance: Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + data[start + chance.choice([1, 2, 16, 128]) :]


def _put_in(data: bytes, chance: Random) -> bytes:
    start = chance.randrange(len(data))
    return data[:start] + chance.randbytes(chance.choice([1, 2, 16, 128])) + data[start:]


def _swell(data: bytes, chance: Random) -> bytes:
    """The size in the header made giant, in whichever way the format writes it down."""
    width = chance.choice([0, 1, 4000, 5500, 7000, 16383, 30000, 65535, 2**31 - 1])
    height = chance.choice([0, 1, 4000, 5500, 7000, 16383, 30000, 65535, 2**31 - 1])
    for form in (">II", "<II", ">HH", "<HH"):
        top = 0xFFFF if form[1] == "H" else 0xFFFFFFFF
        for old, new in (((WIDTH, HEIGHT), (width, height)), ((HEIGHT, WIDTH), (height, width))):
            data = data.replace(struct.pack(form, *old), struct.pack(form, *(min(side, top) for side in new)))
    for tag, old_side, side in ((256, WIDTH, width), (257, HEIGHT, height)):  # TIFF
        for kind in (3, 4):
            data = data.replace(struct.pack("<HHII", tag, kind, 1, old_side), struct.pack("<HHII", tag, 4, 1, side))
    data = data.replace(b"%d %d\n" % (WIDTH, HEIGHT), b"%d %d\n" % (width, height))  # PPM
    canvas = (side - 1 & 0xFFFFFF for side in (width, height))
    old_canvas = b"".join(side.to_bytes(3, "little") for side in (WIDTH - 1, HEIGHT - 1))
    return data.replace(old_canvas, b"".join(side.to_bytes(3, "little") for side in canvas))  # WebP


DAMAGES: tuple[Callable[[bytes, Random], bytes], ...] = (_cut, _flip, _flip_header, _wipe, _leave_out, _put_in, _swell)


def _with_png_checksums(data: bytes) -> bytes:
    """A PNG whose checksums fit what is damaged, so that its reader goes on; any other file as it is."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    whole, at = bytearray(data), 8
    while at + 12 <= len(whole):
        end = at + 8 + int.from_bytes(whole[at : at + 4], "big")
        if end + 4 > len(whole):
            break
        whole[end : end + 4] = zlib.crc32(whole[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(whole)


def judge(path: Path) -> str:
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
    """What plain Pillow makes of a file, upright and on white; None if it complains, or the picture is large."""
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


def judge_apart(folder: Path) -> Counts:
    """Judges the files of a folder in a process of their own, which they may kill. Raises OpenedWronglyError."""
    current = folder.with_name(folder.name + ".current")
    command = [sys.executable, "-W", "error", __file__, str(folder), str(current)]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONPATH": str(root)}, check=False)
    if done.returncode != 0:
        end = done.stderr.decode(errors="replace")[-2000:]
        raise OpenedWronglyError(Path(os.fsdecode(current.read_bytes())), f"exit code {done.returncode}\n{end}")
    return Counts(**json.loads(done.stdout))


def _judge_all(folder: Path, current: Path) -> Counts:
    paths = sorted(folder.iterdir())
    with tempfile.NamedTemporaryFile(suffix=".jpg") as warm_up:
        warm_up.write(originals()["baseline.jpg"])
        warm_up.flush()
        judge(Path(warm_up.name))
    before = _peak()
    reasons: Counter[str] = Counter()
    for path in paths:
        current.write_bytes(os.fsencode(path))
        signal.alarm(SECONDS)  # nobody listens: it ends the process, even inside of C
        reasons[judge(path)] += 1
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
    print(json.dumps(asdict(_judge_all(Path(sys.argv[1]), Path(sys.argv[2])))))
