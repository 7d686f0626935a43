"""Image statistics and their cache."""

import contextlib
import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from facecls.data.duplicates.image_stats import VERSION, compute_image_stats, sharpness
from facecls.errors import ImageError


def photograph(path: Path, seed: int = 0) -> Path:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def test_statistics_have_format_size_brightness_and_colour(tmp_path: Path) -> None:
    Image.new("RGB", (50, 30), (200, 100, 0)).save(tmp_path / "a.png")
    Image.new("L", (30, 50), 40).save(tmp_path / "b.jpg")
    table = compute_image_stats([str(tmp_path / "a.png"), str(tmp_path / "b.jpg")], cache_dir=tmp_path / "cache").table
    assert table["format"].tolist() == [b"PNG", b"JPEG"]
    assert table["width"].tolist() == [50, 30] and table["height"].tolist() == [30, 50]
    assert table["bytes"].tolist() == [(tmp_path / name).stat().st_size for name in ("a.png", "b.jpg")]
    assert table["chroma"].tolist() == [200, 0]
    assert table["mean"].tolist() == pytest.approx([118, 40], abs=1)
    assert table["spread"].tolist() == [0, 0]


def test_only_changed_files_are_measured_again(tmp_path: Path) -> None:
    paths = [str(photograph(tmp_path / name, seed)) for seed, name in enumerate(("a.png", "b.png"))]
    first = compute_image_stats(paths, cache_dir=tmp_path / "cache")
    for path in paths:  # equal size; equal time for the first only, so just the second counts as changed
        status = Path(path).stat()
        Path(path).write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + (path == paths[1])))
    second = compute_image_stats(paths, cache_dir=tmp_path / "cache")
    assert second.table[0].tobytes() == first.table[0].tobytes()
    assert second.reasons == {1: "is not an image that can be read"}
    assert compute_image_stats(paths, cache_dir=tmp_path / "cache").reasons == second.reasons


def test_a_missing_file_is_not_cached(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert compute_image_stats([str(path)], cache_dir=tmp_path / "cache").reasons == {0: "no such file"}
    photograph(path)
    assert compute_image_stats([str(path)], cache_dir=tmp_path / "cache").reasons == {}


def test_an_unreadable_file_is_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(photograph(tmp_path / "a.png")), str(tmp_path / "broken.png")]
    Path(paths[1]).write_bytes(b"no image")
    with monkeypatch.context() as patch:
        patch.setattr("facecls.data.duplicates.image_stats.open_with_header", forbidden)
        reasons = compute_image_stats(paths, cache_dir=tmp_path / "cache").reasons
    assert reasons == dict.fromkeys((0, 1), "cannot be read: permission denied")
    assert compute_image_stats(paths, cache_dir=tmp_path / "cache").reasons == {1: "is not an image that can be read"}


def forbidden(path: str, **_: object) -> None:
    raise ImageError(path, "cannot be read: permission denied")


def test_another_pillow_version_measures_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(photograph(tmp_path / "a.png"))
    compute_image_stats([path], cache_dir=tmp_path)
    status = Path(path).stat()
    Path(path).write_bytes(b"x" * status.st_size)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert compute_image_stats([path], cache_dir=tmp_path).reasons == {}
    monkeypatch.setattr("PIL.__version__", "0.0")
    assert compute_image_stats([path], cache_dir=tmp_path).reasons == {0: "is not an image that can be read"}


def test_records_of_another_version_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(photograph(tmp_path / name)) for name in ("a.png", "b.png")]
    with monkeypatch.context() as patch:
        patch.setattr("facecls.data.duplicates.image_stats.VERSION", VERSION - 1)
        compute_image_stats(paths, cache_dir=tmp_path)
    assert compute_image_stats(paths[:1], cache_dir=tmp_path).reasons == {}
    with contextlib.closing(sqlite3.connect(tmp_path / "image_stats.sqlite")) as database:
        ((version,),) = database.execute("SELECT version FROM records").fetchall()
    assert version.startswith(f"{VERSION}:")


def test_a_damaged_cache_is_replaced(tmp_path: Path) -> None:
    path = str(photograph(tmp_path / "a.png"))
    (tmp_path / "image_stats.sqlite").write_bytes(b"no database" * 1000)
    first = compute_image_stats([path], cache_dir=tmp_path)
    assert first.table["readable"].all()
    with contextlib.closing(sqlite3.connect(tmp_path / "image_stats.sqlite")) as database:
        assert database.execute("SELECT count(*) FROM records").fetchone() == (1,)


def test_without_a_writable_cache_statistics_are_computed(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stats = compute_image_stats([str(photograph(tmp_path / "a.png"))], cache_dir=tmp_path / "file" / "cache")
    assert stats.table["readable"].all()


def test_blur_lowers_sharpness_and_brightness_does_not_change_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)
    image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1))

    def sharp(image: Image.Image) -> float:
        return sharpness(np.asarray(image, np.float32))

    assert sharp(image.filter(ImageFilter.GaussianBlur(3))) < 0.1 * sharp(image)
    assert sharp(image.point(lambda value: value // 2 + 40)) == pytest.approx(sharp(image), rel=0.1)
    assert sharp(Image.new("L", (9, 9), 7)) == 0
