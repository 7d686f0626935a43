"""From an image to a square of pixels: central crop, fit and one resize."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image

from facecls.errors import ImageError
from facecls.faces.detect import DetectorOptions
from facecls.faces.geometry import PADDING, Detection, Geometry, read_face
from tests.faces.mutations import original

BILINEAR = Image.Resampling.BILINEAR


def resized(image: Image.Image, box: tuple[int, int, int, int], size: tuple[int, int]) -> npt.NDArray[Any]:
    return np.asarray(image.crop(box).resize(size, BILINEAR))


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_an_uncropped_square_is_only_resized(fit: Literal["crop", "pad", "stretch"]) -> None:
    image = original("RGB", (64, 64))
    np.testing.assert_array_equal(Geometry(32, 1.0, fit)(image), resized(image, (0, 0, 64, 64), (32, 32)))


def test_an_image_of_the_output_size_is_unchanged() -> None:
    image = original("RGB", (48, 48))
    np.testing.assert_array_equal(Geometry(48)(image), np.asarray(image))


def inside(image: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Without the border, where cropping before the resize loses the pixels beyond the crop that a float box uses."""
    return image[2:-2, 2:-2]


def test_crop_keeps_the_central_share_of_each_side() -> None:
    image = original("RGB", (200, 200))
    expected = resized(image, (40, 40, 160, 160), (60, 60))
    np.testing.assert_array_equal(inside(Geometry(60, 0.6)(image)), inside(expected))


def test_fit_crop_keeps_the_central_square() -> None:
    wide = original("RGB", (300, 200))
    expected = resized(wide, (100, 50, 200, 150), (50, 50))
    np.testing.assert_array_equal(inside(Geometry(50, 0.5, "crop")(wide)), inside(expected))
    high = original("RGB", (200, 300))
    expected = resized(high, (50, 100, 150, 200), (50, 50))
    np.testing.assert_array_equal(inside(Geometry(50, 0.5, "crop")(high)), inside(expected))


def test_fit_stretch_changes_the_proportions() -> None:
    image = original("RGB", (400, 200))
    expected = resized(image, (100, 50, 300, 150), (50, 50))
    np.testing.assert_array_equal(inside(Geometry(50, 0.5, "stretch")(image)), inside(expected))


def test_fit_pad_centres_the_image_on_grey() -> None:
    image = original("RGB", (400, 200))
    face = Geometry(50, 0.5, "pad")(image)
    np.testing.assert_array_equal(inside(face[12:37]), inside(resized(image, (100, 50, 300, 150), (50, 25))))
    assert (face[:12] == PADDING).all()
    assert (face[37:] == PADDING).all()
    np.testing.assert_array_equal(Geometry(50, 0.5, "pad")(image.transpose(Image.Transpose.TRANSPOSE))[:, 37:], 128)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("crop", [1.0, 0.6, 1 / 3, 1e-3])
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (3001, 2), (17, 16), (113, 112)])
def test_every_image_size_and_crop_gives_a_square(
    size: tuple[int, int], crop: float, fit: Literal["crop", "pad", "stretch"]
) -> None:
    for image_size in (1, 16, 33):
        face = Geometry(image_size, crop, fit)(Image.new("RGB", size, (9, 99, 199)))
        assert face.shape == (image_size, image_size, 3)
        assert face.dtype == np.uint8
        middle = (image_size - 1) // 2
        assert face[middle, middle].tolist() == [9, 99, 199]


def test_the_array_is_writable() -> None:
    for fit in ("crop", "pad"):
        Geometry(8, 1.0, fit)(original())[0, 0] = 1  # torch warns of read-only arrays


def test_fine_stripes_are_averaged() -> None:
    stripes = np.zeros((640, 640, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    face = Geometry(20)(Image.fromarray(stripes))
    assert np.abs(face.astype(int) - 128).max() <= 8


def test_reducing_a_large_image_first_gives_nearly_the_same_pixels() -> None:
    image = original().resize((1600, 1200))
    expected = resized(image, (200, 0, 1400, 1200), (50, 50))
    assert np.abs(Geometry(50)(image).astype(int) - expected).max() <= 6


@pytest.mark.parametrize("detection", [None, Detection(margin=0.1, options=DetectorOptions(0.7, (320,)))])
def test_a_geometry_survives_asdict(detection: Detection | None) -> None:
    geometry = Geometry(112, 0.6, "pad", detection)
    plain = asdict(geometry)
    assert {name: plain[name] for name in ("image_size", "crop", "fit")} == {"image_size": 112, "crop": 0.6, "fit": "pad"}
    assert Geometry.from_plain(json.loads(json.dumps(plain))) == geometry
    assert Geometry.from_plain({"image_size": 8}) == Geometry(8)


def test_a_face_is_read_from_its_file(tmp_path: Path) -> None:
    original("RGB", (100, 100)).save(tmp_path / "a.png")
    geometry = Geometry(40, 0.8)
    np.testing.assert_array_equal(read_face(tmp_path / "a.png", geometry), geometry(original("RGB", (100, 100))))


def test_the_orientation_is_applied_before_the_crop(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 8
    image = original("RGB", (120, 80))
    image.save(tmp_path / "a.png", exif=exif)
    geometry = Geometry(40, 0.8, "stretch")
    expected = geometry(image.transpose(Image.Transpose.ROTATE_90))
    np.testing.assert_array_equal(read_face(tmp_path / "a.png", geometry), expected)


@pytest.mark.parametrize("fit", ["crop", "pad", "stretch"])
def test_a_jpeg_shrunk_while_decoding_gives_nearly_the_same_face(
    tmp_path: Path, fit: Literal["crop", "pad", "stretch"]
) -> None:
    image = original().resize((2400, 1600))
    image.save(tmp_path / "a.jpg", quality=95)
    geometry = Geometry(64, 0.6, fit)
    with Image.open(tmp_path / "a.jpg") as whole:
        expected = geometry(whole)
    difference = np.abs(read_face(tmp_path / "a.jpg", geometry).astype(int) - expected)
    assert difference.mean() < 1
    assert difference.max() < 16


def test_an_unreadable_image_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ImageError, match=r"a\.jpg: is empty"):
        read_face(tmp_path / "a.jpg", Geometry(32))
