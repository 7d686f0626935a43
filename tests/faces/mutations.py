"""Makes damaged and odd image files, the same for the same seed."""

import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image

WIDTH, HEIGHT = 61, 47  # primes, so that in a file these numbers are only its size


def original(mode: str = "RGB", size: tuple[int, int] = (WIDTH, HEIGHT)) -> Image.Image:
    """An image with gradients, an edge and noise: every rotation, flip and shift changes its pixels."""
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
    """Valid files by name, in every accepted format that Pillow writes."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a face"
    turned = exif.tobytes()
    mirrored = original().transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    variants: dict[str, tuple[Image.Image, dict[str, object]]] = {
        "baseline.jpg": (original(), {"quality": 80, "exif": turned, "dpi": (72, 72)}),
        "progressive.jpg": (original(), {"progressive": True, "exif": turned}),
        "cmyk.jpg": (original("CMYK"), {}),
        "rgb.png": (original(), {"exif": turned}),
        "palette.png": (original("P"), {"transparency": 3}),
        "alpha.png": (original("RGBA"), {}),
        "grey16.png": (original("I;16"), {}),
        "two.gif": (original("P"), {"save_all": True, "append_images": [mirrored.convert("P")], "transparency": 9}),
        "rgb.bmp": (original(), {}),
        "palette.bmp": (original("P"), {}),
        "lossy.webp": (original(), {"exif": turned}),
        "lossless.webp": (original("RGBA"), {"lossless": True}),
        "two.webp": (original(), {"save_all": True, "append_images": [mirrored]}),
        "raw.tif": (original(), {"exif": turned}),
        "lzw.tif": (original("RGBA"), {"compression": "tiff_lzw"}),
        "deflate.tif": (original("CMYK"), {"compression": "tiff_adobe_deflate"}),
        "float.tif": (original("F"), {}),
        "colour.ppm": (original(), {}),
        "grey.pgm": (original("L"), {}),
        "grey16.pgm": (original("I"), {}),
        "bits.pbm": (original("1"), {}),
        "rgb.avif": (original(), {"speed": 10, "exif": turned}),
        "rgb.jp2": (original(), {}),
        "rgb.j2k": (original("RGBA"), {"no_jp2": True}),
    }
    files = {}
    for name, (image, options) in variants.items():
        stream = io.BytesIO()
        stream.name = name  # by its suffix JPEG 2000 writes a bare codestream
        image.save(stream, Image.registered_extensions()[Path(name).suffix], **options)
        files[name] = stream.getvalue()
    return files


def write_cut(folder: Path) -> list[Path]:
    """Writes every original truncated at each tenth of its length."""
    paths = []
    for name, data in originals().items():
        for tenth in range(10):
            paths.append(folder / f"tenth{tenth}-{name}")
            paths[-1].write_bytes(data[: len(data) * tenth // 10])
    return paths


def write_damaged(folder: Path, seed: int, each: int) -> list[Path]:
    """Writes every original `each` times with random damage drawn from `seed`."""
    files = originals()
    paths = []
    for name, data in files.items():
        for number in range(each):
            rng = Random(f"{seed} {name} {number}")
            damage = rng.choice(DAMAGES)
            damaged = damage(data, rng)
            if rng.random() < 0.1:  # with the end of another file
                damaged = damaged[: len(damaged) // 2] + rng.choice(list(files.values()))[len(damaged) // 2 :]
            if rng.random() < 0.8:
                damaged = _with_png_checksums(damaged)
            paths.append(folder / f"{damage.__name__.strip('_')}{number}-{name}")
            paths[-1].write_bytes(damaged)
    return paths


def write_oddities(folder: Path) -> dict[Path, str | None]:
    """Writes files that are no images and images with odd names; returns the expected reasons, None if decoded."""
    files = originals()
    expected: dict[Path, str | None] = {}

    def put(name: str, data: bytes, reason: str | None) -> None:
        (folder / name).write_bytes(data)
        expected[folder / name] = reason

    for name, data in files.items():
        put(f"wrong-extension-{name}{'.png' if name.endswith('jpg') else '.jpg'}", data, None)
    for name in ("лицо.jpg", "😀.jpg", "two\nlines.jpg", "-dash.jpg", "a" * 246 + ".jpg", "\udcff\udcfe.jpg", "no suffix"):
        put(name, files["baseline.jpg"], None)
    not_an_image = "is not an image that can be read"
    put("empty.jpg", b"", "is empty")
    put("page.jpg", b"<!doctype html><title>403 Forbidden</title>", not_an_image)
    put("text.png", b"not an image\n" * 99, not_an_image)
    put("zeros.bmp", bytes(4096), not_an_image)
    put("program.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", not_an_image)
    put("paper.jpg", b"%PDF-1.7\n" * 99, not_an_image)
    put("drawing.jpg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", not_an_image)
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "fifo.jpg")
    (folder / "dead.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    (folder / "alive.jpg").symlink_to("no suffix")
    (folder / "closed.jpg").write_bytes(files["baseline.jpg"])
    (folder / "closed.jpg").chmod(0)
    with socket.socket(socket.AF_UNIX) as server:
        here = Path.cwd()
        os.chdir(folder)  # a socket's path has at most 107 bytes
        server.bind("socket.jpg")
        os.chdir(here)
    irregular = dict.fromkeys(("fifo.jpg", "zero.jpg", "socket.jpg"), "is not a regular file")
    links = {"dead.jpg": "is a broken link", "loop.jpg": "is a circular link", "alive.jpg": None}
    closed = {"closed.jpg": None if os.geteuid() == 0 else "permission denied"}
    for name, reason in {"folder.jpg": "is a folder", **irregular, **links, **closed}.items():
        expected[folder / name] = reason
    return expected


def _cut(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data))]


def _flip(data: bytes, rng: Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 5, 20])):
        damaged[rng.randrange(len(damaged))] = rng.choice([0, 255, rng.randrange(256)])
    return bytes(damaged)


def _flip_header(data: bytes, rng: Random) -> bytes:
    return _flip(data[:200], rng) + data[200:]


def _zero(data: bytes, rng: Random) -> bytes:
    start, length = rng.randrange(len(data)), rng.choice([4, 32, 512])
    return (data[:start] + bytes(length) + data[start + length :])[: len(data)]


def _delete(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.choice([1, 2, 16, 128]) :]


def _insert(data: bytes, rng: Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + rng.randbytes(rng.choice([1, 2, 16, 128])) + data[start:]


def _enlarge_size(data: bytes, rng: Random) -> bytes:
    """The width and height in the header replaced by large ones, in the encoding of every format."""
    width = rng.choice([0, 1, 4000, 5500, 7000, 16383, 30000, 65535, 2**31 - 1])
    height = rng.choice([0, 1, 4000, 5500, 7000, 16383, 30000, 65535, 2**31 - 1])
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


DAMAGES: tuple[Callable[[bytes, Random], bytes], ...] = (_cut, _flip, _flip_header, _zero, _delete, _insert, _enlarge_size)


def _with_png_checksums(data: bytes) -> bytes:
    """A PNG with its checksums recomputed, so that decoding goes on past the damage; other files unchanged."""
    if not data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data
    png, at = bytearray(data), 8
    while at + 12 <= len(png):
        end = at + 8 + int.from_bytes(png[at : at + 4], "big")
        if end + 4 > len(png):
            break
        png[end : end + 4] = zlib.crc32(png[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return bytes(png)
