"""Image files are decoded upright and in RGB, or rejected with a reason."""

import importlib.util
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps

from facecls.errors import ImageError
from facecls.faces import decode
from facecls.faces.colour import to_rgb
from facecls.faces.decode import SUFFIXES, open_image
from facecls.faces.limits import LIMITS
from tests.faces.mutations import original

HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None


def array(image: Image.Image) -> npt.NDArray[Any]:
    return np.asarray(image)


def rejection(path: str | Path, at_least: int | None = None) -> str:
    with pytest.raises(ImageError) as caught:
        open_image(path, at_least)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert caught.value.path == str(path)
    return caught.value.reason


def oriented(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif.tobytes()


def huge_png(width: int, height: int) -> bytes:
    """The head of a grey PNG of any size, with a row of its pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(width + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


# ---- upright


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".avif"])
def test_every_exif_orientation_is_turned_upright(tmp_path: Path, suffix: str, orientation: int) -> None:
    path = tmp_path / f"turned{suffix}"
    original().save(path, exif=oriented(orientation))
    opened = open_image(path)
    with Image.open(path) as plain:
        np.testing.assert_array_equal(array(opened), array(ImageOps.exif_transpose(plain)))
    assert opened.size == ((47, 61) if orientation > 4 else (61, 47))


def test_a_decoded_image_has_no_metadata_that_would_turn_it_again(tmp_path: Path) -> None:
    original().save(tmp_path / "a.jpg", exif=oriented(6), icc_profile=b"profile")
    opened = open_image(tmp_path / "a.jpg")
    assert opened.info == {}
    assert array(ImageOps.exif_transpose(opened)).tobytes() == array(opened).tobytes()


def test_an_undefined_orientation_is_ignored(tmp_path: Path) -> None:
    original().save(tmp_path / "a.jpg", exif=oriented(9))
    assert open_image(tmp_path / "a.jpg").size == (61, 47)


def test_an_intact_image_with_damaged_exif_is_decoded(tmp_path: Path) -> None:
    original().save(tmp_path / "a.png", exif=b"Exif\0\0not a TIFF header")
    np.testing.assert_array_equal(array(open_image(tmp_path / "a.png")), array(original()))


# ---- in RGB


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("1", "a.png"),
        ("1", "a.pbm"),
        ("L", "a.jpg"),
        ("L", "a.pgm"),
        ("P", "a.png"),
        ("P", "a.gif"),
        ("P", "a.bmp"),
        ("RGB", "a.bmp"),
        ("RGB", "a.ppm"),
        ("RGB", "a.webp"),
        ("RGB", "a.avif"),
        ("RGB", "a.jp2"),
        ("CMYK", "a.jpg"),
        ("CMYK", "a.tif"),
    ],
)
def test_an_image_without_transparency_is_converted_as_pillow_does(tmp_path: Path, mode: str, name: str) -> None:
    original(mode).save(tmp_path / name)
    opened = open_image(tmp_path / name)
    with Image.open(tmp_path / name) as plain:
        np.testing.assert_array_equal(array(opened), array(plain.convert("RGB")))
    assert opened.mode == "RGB"
    assert np.abs(array(opened).astype(int) - array(original(mode).convert("RGB"))).mean() < 8  # lossy compression


def test_an_inverted_cmyk_jpeg_of_adobe_is_not_a_negative(tmp_path: Path) -> None:
    Image.new("CMYK", (16, 16), (0, 0, 0, 0)).save(tmp_path / "white.jpg")
    assert b"Adobe" in (tmp_path / "white.jpg").read_bytes()
    assert open_image(tmp_path / "white.jpg").getpixel((8, 8)) == (255, 255, 255)


def test_lab_is_converted_to_its_rgb_colour(tmp_path: Path) -> None:
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB")
    lab = ImageCms.applyTransform(Image.new("RGB", (8, 8), (200, 60, 30)), to_lab)
    assert lab is not None
    lab.save(tmp_path / "a.tif")
    assert np.abs(array(open_image(tmp_path / "a.tif"))[4, 4].astype(int) - (200, 60, 30)).max() <= 4


@pytest.mark.parametrize(
    ("mode", "half", "name"),
    [
        ("RGBA", (200, 0, 0, 128), "a.png"),
        ("RGBA", (200, 0, 0, 128), "a.webp"),
        ("RGBA", (200, 0, 0, 128), "a.tif"),
        ("LA", (200, 128), "a.png"),
    ],
)
def test_transparency_is_composited_on_white(tmp_path: Path, mode: str, half: tuple[int, ...], name: str) -> None:
    image = Image.new(mode, (20, 10), (*half[:-1], 0))
    image.paste(half, (0, 0, 10, 10))
    image.save(tmp_path / name, lossless=True)  # only WebP has this option, the others ignore it
    opened = array(open_image(tmp_path / name))
    assert (opened[:, 10:] == 255).all()
    expected = [255 - (255 - side) * 128 / 255 for side in half[:-1]] * (3 if mode == "LA" else 1)
    np.testing.assert_allclose(opened[5, 5], expected, atol=1)


@pytest.mark.parametrize(("mode", "nothing"), [("La", (0, 0)), ("RGBa", (0, 0, 0, 0)), ("PA", (0, 0))])
def test_rare_modes_with_transparency_are_composited_on_white(mode: str, nothing: tuple[int, ...]) -> None:
    assert array(to_rgb(Image.new(mode, (1, 1), nothing))).tolist() == [[[255] * 3]]


@pytest.mark.parametrize("mode", ["YCbCr", "HSV", "RGBX"])
def test_rare_colour_modes_are_converted_as_pillow_does(mode: str) -> None:
    image = original().convert(mode)
    np.testing.assert_array_equal(array(to_rgb(image)), array(image.convert("RGB")))


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 255])])
@pytest.mark.parametrize("name", ["a.png", "a.gif"])
def test_a_transparent_palette_colour_is_composited_on_white(tmp_path: Path, name: str, transparency: int) -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    image.save(tmp_path / name, transparency=1 if name == "a.gif" else transparency)
    assert array(open_image(tmp_path / name)).tolist() == [[[10, 20, 30], [255, 255, 255], [70, 80, 90]]]


def test_a_transparent_grey_or_colour_key_is_composited_on_white(tmp_path: Path) -> None:
    Image.fromarray(np.array([[7, 9]], dtype=np.uint8)).save(tmp_path / "grey.png", transparency=7)
    assert array(open_image(tmp_path / "grey.png"))[0].tolist() == [[255] * 3, [9] * 3]
    Image.fromarray(np.array([[[7, 8, 9], [1, 2, 3]]], dtype=np.uint8)).save(tmp_path / "colour.png", transparency=(7, 8, 9))
    assert array(open_image(tmp_path / "colour.png"))[0].tolist() == [[255] * 3, [1, 2, 3]]


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jp2"])
def test_grey_of_16_bits_is_scaled_and_not_clipped(tmp_path: Path, name: str) -> None:
    numbers = np.linspace(0, 65535, 256 * 4).astype(np.uint16).reshape(32, 32)
    Image.fromarray(numbers).save(tmp_path / name)
    np.testing.assert_array_equal(array(open_image(tmp_path / name))[..., 1], np.rint(numbers / 257))


def test_a_nearly_black_pgm_of_16_bits_stays_nearly_black(tmp_path: Path) -> None:
    (tmp_path / "a.pgm").write_bytes(b"P5 2 1 65535\n" + struct.pack(">HH", 0, 255))
    assert array(open_image(tmp_path / "a.pgm"))[..., 0].tolist() == [[0, 1]]


def test_colour_of_16_bits_is_scaled(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6 1 1 65535\n" + struct.pack(">HHH", 0, 32768, 65535))
    red, green, blue = array(open_image(tmp_path / "a.ppm"))[0, 0].tolist()
    assert (red, blue) == (0, 255)
    assert abs(green - 128) <= 1


def test_white_of_a_12_bit_tiff_is_4095(tmp_path: Path) -> None:
    values = {256: 2, 257: 1, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 3}
    data = b"II*\0" + struct.pack("<I", 12) + b"\x00\x0f\xff\0"
    data += struct.pack("<H", len(values))
    data += b"".join(struct.pack("<HHII", tag, 3, 1, value) for tag, value in values.items()) + bytes(4)
    (tmp_path / "a.tif").write_bytes(data)
    assert array(open_image(tmp_path / "a.tif"))[0, :, 0].tolist() == [0, 255]


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 100, 200], [0, 100, 200]),
        ([0, 25700, 65535], [0, 100, 255]),
        ([-1, 0, 3], [0, 64, 255]),
        ([0, 1e6, 2e6], [0, 128, 255]),
        ([0, np.nan, 1], [0, 0, 255]),
        ([-np.inf, 0.2, np.inf], [0, 51, 255]),
        ([-5, -5, -5], [0, 0, 0]),
    ],
)
def test_floats_are_scaled_by_their_range(tmp_path: Path, numbers: list[float], expected: list[int]) -> None:
    Image.fromarray(np.array([numbers], dtype=np.float32)).save(tmp_path / "a.tif")
    assert array(open_image(tmp_path / "a.tif"))[0, :, 0].tolist() == expected


def test_32_bit_integers_are_scaled_by_their_range(tmp_path: Path) -> None:
    for numbers, expected in (([0, 100, 200], [0, 100, 200]), ([-1000, 0, 1000], [0, 128, 255])):
        Image.fromarray(np.array([numbers], dtype=np.int32)).save(tmp_path / "a.tif")
        assert array(open_image(tmp_path / "a.tif"))[0, :, 0].tolist() == expected


def test_an_image_without_a_finite_pixel_is_damaged(tmp_path: Path) -> None:
    Image.fromarray(np.full((2, 2), np.nan, dtype=np.float32)).save(tmp_path / "a.tif")
    assert rejection(tmp_path / "a.tif") == "is damaged (no pixel is finite)"


def test_conversion_in_strips_gives_the_same_pixels(tmp_path: Path) -> None:
    image = original("RGBA", (1000, 700))
    image.save(tmp_path / "a.png", compress_level=1)
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    np.testing.assert_array_equal(array(open_image(tmp_path / "a.png")), array(on_white))


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.mpo.jpg"])
def test_the_first_of_several_frames_is_decoded(tmp_path: Path, name: str) -> None:
    first, second = Image.new("RGB", (16, 16), (250, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 250))
    first.save(tmp_path / name, "MPO" if "mpo" in name else None, save_all=True, append_images=[second])
    with Image.open(tmp_path / name) as plain:
        assert getattr(plain, "n_frames", 1) == 2
    assert np.abs(array(open_image(tmp_path / name))[8, 8].astype(int) - (250, 0, 0)).max() <= 5


# ---- fast


@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_is_decoded_at_a_smaller_size_to_nearly_the_same_pixels(tmp_path: Path, progressive: bool) -> None:
    original().resize((4000, 3000)).save(tmp_path / "a.jpg", quality=90, progressive=progressive)
    whole, small = open_image(tmp_path / "a.jpg"), open_image(tmp_path / "a.jpg", at_least=187)
    assert whole.size == (4000, 3000)
    assert small.size == (500, 375)
    shrunk = whole.resize(small.size, Image.Resampling.BOX)
    assert np.abs(array(shrunk).astype(int) - array(small)).mean() < 2


@pytest.mark.parametrize(("at_least", "shorter"), [(1, 9), (8, 9), (9, 17), (16, 17), (17, 34), (33, 34), (34, 67), (99, 67)])
def test_a_jpeg_is_never_decoded_below_the_requested_size(tmp_path: Path, at_least: int, shorter: int) -> None:
    original("RGB", (80, 67)).save(tmp_path / "a.jpg", exif=oriented(6))
    assert min(open_image(tmp_path / "a.jpg", at_least).size) == shorter


def test_threads_decode_the_same_pixels_as_one_thread(tmp_path: Path) -> None:
    paths = []
    for number, suffix in enumerate([".jpg", ".png", ".gif", ".webp", ".tif", ".jp2"] * 20):
        paths.append(tmp_path / f"{number}{suffix}")
        original("RGB", (40 + number, 50)).save(paths[-1])
    alone = [array(open_image(path)).tobytes() for path in paths]
    with ThreadPoolExecutor(8) as threads:
        assert [array(image).tobytes() for image in threads.map(open_image, paths)] == alone


# ---- rejected with a reason (files that are not images: test_mutations.py)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert rejection(tmp_path / "a.jpg") == "no such file"
    assert rejection(str(tmp_path / "a.jpg")) == "no such file"
    (tmp_path / "file").touch()
    assert rejection(tmp_path / "file" / "a.jpg") == "no such file"
    assert rejection(tmp_path / "null\0byte.jpg") == "no such file"


def test_a_name_that_is_too_long_is_reported(tmp_path: Path) -> None:
    assert rejection(tmp_path / ("a" * 300 + ".jpg")) == "its name is too long"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_in_an_unreadable_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    assert rejection(tmp_path / "closed" / "a.jpg") == "permission denied"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.gif", "a.bmp", "a.ppm", "a.tif"])
def test_half_an_image_is_reported_as_cut_short(tmp_path: Path, name: str) -> None:
    original().save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    assert rejection(tmp_path / name) == "is cut short"
    assert rejection(tmp_path / name, at_least=8) == "is cut short"


def test_a_damaged_image_is_reported_in_pillows_words(tmp_path: Path) -> None:
    original().save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[20] ^= 1
    (tmp_path / "a.png").write_bytes(data)
    assert rejection(tmp_path / "a.png") == "is damaged (broken PNG file (bad header checksum in b'IHDR'))"


def test_an_image_of_too_many_pixels_is_rejected_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(huge_png(65535, 65535))
    assert rejection(tmp_path / "a.png") == "claims 65535 x 65535 pixels, more than 50 million"
    (tmp_path / "a.png").write_bytes(huge_png(10_000, 5_000)[:60])  # exactly the limit: decoding starts
    assert rejection(tmp_path / "a.png") == "is cut short"
    original().save(tmp_path / "a.gif")
    data = (tmp_path / "a.gif").read_bytes()
    (tmp_path / "a.gif").write_bytes(data[:6] + struct.pack("<HH", 65535, 65535) + data[10:])
    assert rejection(tmp_path / "a.gif") == "claims 65535 x 65535 pixels, more than 50 million"


def jpeg_that_claims(path: Path, width: int, height: int, progressive: bool = False) -> None:
    original().save(path, progressive=progressive)
    data = path.read_bytes().removesuffix(b"\xff\xd9")
    path.write_bytes(data.replace(struct.pack(">HH", 47, 61), struct.pack(">HH", height, width)))


def test_a_jpeg_may_be_larger_if_it_is_shrunk_while_decoding(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    jpeg_that_claims(path, 16000, 12500)
    assert rejection(path) == "claims 16000 x 12500 pixels, more than 50 million"
    assert rejection(path, at_least=5000) == "is cut short"
    assert rejection(path, at_least=6251) == "claims 16000 x 12500 pixels, more than 50 million"
    jpeg_that_claims(path, 16001, 12500)
    assert rejection(path, at_least=100) == "claims 16001 x 12500 pixels, more than 200 million"


def test_a_jpeg_with_several_scans_may_not_be_larger(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    jpeg_that_claims(path, 10_000, 4_001, progressive=True)
    assert rejection(path, at_least=100) == "claims 10000 x 4001 pixels, more than 40 million"
    jpeg_that_claims(path, 10_000, 4_001)
    data = path.read_bytes()
    scan = data.index(b"\xff\xda\0\x0c\3\1")
    path.write_bytes(data[:scan] + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + data[scan + 14 :])
    assert rejection(path, at_least=100) == "claims 10000 x 4001 pixels, more than 40 million"


def test_a_file_of_too_many_bytes_is_rejected_before_it_is_read(tmp_path: Path) -> None:
    original().save(tmp_path / "a.webp")
    with (tmp_path / "a.webp").open("r+b") as file:
        file.truncate(33_000_000)  # a sparse file
    assert rejection(tmp_path / "a.webp") == "is 33 MB large, more than 32 MB"


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize(("tag", "kind", "rejected"), [(273, 4, True), (273, 1, True), (50000, 3, True), (34675, 7, False)])
def test_a_tiff_tag_with_too_many_values_is_rejected_before_they_are_read(
    tmp_path: Path, order: str, big: bool, tag: int, kind: int, rejected: bool
) -> None:
    tags = {256: (3, 1, 2), 257: (3, 1, 1), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1), 273: (3, 1, 300)}
    tags[tag] = (kind, 200_001, 300)
    data = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHHQQ" if big else "HIH"), *((43, 8, 0, 16, len(tags)) if big else (42, 8, len(tags)))
    )
    for number, (sort, count, value) in tags.items():
        field = struct.pack(order + ("H" if count == 1 else "Q" if big else "I"), value).ljust(8 if big else 4, b"\0")
        data += struct.pack(order + ("HHQ" if big else "HHI"), number, sort, count) + field
    path = tmp_path / "a.tif"
    path.write_bytes(data.ljust(300, b"\0") + bytes(200_001 * 4))
    if rejected:
        assert rejection(path) == f"is damaged: 200001 values in TIFF tag {tag}"
    else:
        assert open_image(path).size == (2, 1)


def test_eps_and_pdf_are_rejected(tmp_path: Path) -> None:
    original().save(tmp_path / "a.eps")
    assert rejection(tmp_path / "a.eps") == "is not an image that can be read"
    original().save(tmp_path / "a.pdf")
    assert rejection(tmp_path / "a.pdf") == "is not an image that can be read"


def test_a_kept_error_keeps_no_pixels_alive(tmp_path: Path) -> None:
    original().save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:700])
    with pytest.raises(ImageError) as caught:
        open_image(tmp_path / "a.jpg")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    traceback, frames = caught.value.__traceback__, []
    while traceback is not None:
        frames.append(traceback.tb_frame)
        traceback = traceback.tb_next
    held = [value for frame in frames[1:] for value in frame.f_locals.values()]
    assert held and not any(isinstance(value, Image.Image | Exception) for value in held)


def test_odd_metadata_causes_no_warning(tmp_path: Path) -> None:
    original().save(tmp_path / "a.jpg", exif=oriented(1)[:-6] + b"\xff\xff")
    original("P").save(tmp_path / "b.png", transparency=bytes(range(256)))
    (tmp_path / "c.png").write_bytes(huge_png(12_000, 10_000))
    original().save(tmp_path / "d.gif")
    data = bytearray((tmp_path / "d.gif").read_bytes())
    data[6:10] = struct.pack("<HH", 9, 9)
    frame = data.index(b"," + bytes(4) + struct.pack("<HH", 61, 47))
    data[frame + 5 : frame + 9] = struct.pack("<HH", 12_000, 10_000)
    (tmp_path / "d.gif").write_bytes(data)
    with pytest.warns(UserWarning), Image.open(tmp_path / "a.jpg") as plain:
        plain.getexif()
    program = """
import sys
from facecls.errors import ImageError
from facecls.faces.decode import open_image
from facecls.warning_filters import ignore_image_warnings
ignore_image_warnings()
for path in sys.argv[1:]:
    try:
        print(open_image(path).size)
    except ImageError as error:
        print(error.reason)
"""
    paths = sorted(str(path) for path in tmp_path.iterdir())
    command = [sys.executable, "-W", "always", "-c", program, *paths]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "(61, 47)",
        "(61, 47)",
        "claims 12000 x 10000 pixels, more than 50 million",
        "claims 12000 x 10000 pixels, more than 50 million",
    ]
    assert done.stderr == ""


# ---- HEIC


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heix"])
def test_the_reason_for_a_heic_image_without_pillow_heif_is_how_to_install_it(
    tmp_path: Path, brands: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "_pillow_heif", lambda: None)
    (tmp_path / "a.heic").write_bytes(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(99))
    assert rejection(tmp_path / "a.heic") == "is a HEIC image, which needs `pip install 'facecls[heic]'`"


@pytest.mark.skipif(not HAS_HEIF, reason="needs pillow-heif")
def test_a_heic_image_is_decoded_upright_with_pillow_heif(tmp_path: Path) -> None:
    pillow_heif = importlib.import_module("pillow_heif")
    pillow_heif.from_pillow(original()).save(tmp_path / "a.heic", quality=95, exif=oriented(6))
    opened = open_image(tmp_path / "a.heic")
    assert opened.size == (47, 61)
    expected = original().transpose(Image.Transpose.ROTATE_270)
    assert np.abs(array(opened).astype(int) - array(expected)).mean() < 8
    (tmp_path / "a.heic").write_bytes((tmp_path / "a.heic").read_bytes()[:900])
    assert rejection(tmp_path / "a.heic").startswith(("is damaged (", "is cut short"))


# ---- formats


def test_the_suffixes_are_those_of_the_accepted_formats() -> None:
    Image.init()
    known = {suffix for suffix, kind in Image.registered_extensions().items() if kind in LIMITS}
    assert known - {".avifs"} <= SUFFIXES
    assert known | {".heic", ".heif"} >= SUFFIXES


def test_a_format_that_pillow_was_built_without_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accept: Callable[[bytes], bool | str] = lambda _: "image file could not be identified"  # noqa: E731
    monkeypatch.setitem(Image.OPEN, "AVIF", (Image.OPEN["AVIF"][0], accept))
    (tmp_path / "a.avif").write_bytes(b"\0\0\0\x1cftypavif" + bytes(99))
    assert rejection(tmp_path / "a.avif") == "is in a format that this Pillow cannot read (AVIF)"
