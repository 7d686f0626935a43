"""A look tells what is in a file, and is kept until the file changes."""

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


def test_a_look_tells_format_size_light_and_colour(tmp_path: Path) -> None:
    Image.new("RGB", (50, 30), (200, 100, 0)).save(tmp_path / "a.png")
    Image.new("L", (30, 50), 40).save(tmp_path / "b.jpg")
    table = compute_image_stats([str(tmp_path / "a.png"), str(tmp_path / "b.jpg")], cache_dir=tmp_path / "cache").table
    assert table["format"].tolist() == [b"PNG", b"JPEG"]
    assert table["width"].tolist() == [50, 30] and table["height"].tolist() == [30, 50]
    assert table["bytes"].tolist() == [(tmp_path / name).stat().st_size for name in ("a.png", "b.jpg")]
    assert table["chroma"].tolist() == [200, 0]
    assert table["mean"].tolist() == pytest.approx([118, 40], abs=1)
    assert table["spread"].tolist() == [0, 0]


def test_a_second_look_is_taken_only_at_files_that_changed(tmp_path: Path) -> None:
    paths = [str(photograph(tmp_path / name, seed)) for seed, name in enumerate(("a.png", "b.png"))]
    first = compute_image_stats(paths, cache_dir=tmp_path / "cache")
    for path in paths:  # of the same length, and the first also of the same time: only the second is seen to have changed
        status = Path(path).stat()
        Path(path).write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + (path == paths[1])))
    second = compute_image_stats(paths, cache_dir=tmp_path / "cache")
    assert second.table[0].tobytes() == first.table[0].tobytes()
    assert second.reasons == {1: "is not an image that can be read"}
    assert compute_image_stats(paths, cache_dir=tmp_path / "cache").reasons == second.reasons


def test_a_missing_file_is_not_kept_as_missing(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    assert compute_image_stats([str(path)], cache_dir=tmp_path / "cache").reasons == {0: "no such file"}
    photograph(path)
    assert compute_image_stats([str(path)], cache_dir=tmp_path / "cache").reasons == {}


def test_a_reason_that_lies_outside_the_file_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [str(photograph(tmp_path / "a.png")), str(tmp_path / "broken.png")]
    Path(paths[1]).write_bytes(b"no image")
    with monkeypatch.context() as patch:
        patch.setattr("facecls.data.duplicates.image_stats.open_with_header", forbidden)
        reasons = compute_image_stats(paths, cache_dir=tmp_path / "cache").reasons
    assert reasons == dict.fromkeys((0, 1), "cannot be read: permission denied")
    assert compute_image_stats(paths, cache_dir=tmp_path / "cache").reasons == {1: "is not an image that can be read"}


def forbidden(path: str, **_: object) -> None:
    raise ImageError(path, "cannot be read: permission denied")


def test_another_pillow_looks_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(photograph(tmp_path / "a.png"))
    compute_image_stats([path], cache_dir=tmp_path)
    kept = Path(path).stat()
    Path(path).write_bytes(b"x" * kept.st_size)
    os.utime(path, ns=(kept.st_atime_ns, kept.st_mtime_ns))
    assert compute_image_stats([path], cache_dir=tmp_path).reasons == {}
    monkeypatch.setattr("PIL.__version__", "0.0")
    assert compute_image_stats([path], cache_dir=tmp_path).reasons == {0: "is not an image that can be read"}


def test_a_cache_of_an_earlier_version_goes_on(tmp_path: Path) -> None:
    path = str(photograph(tmp_path / "a.png"))
    with contextlib.closing(sqlite3.connect(tmp_path / "looks.sqlite")) as database, database:
        database.execute(
            "CREATE TABLE looks (path BLOB PRIMARY KEY, kind TEXT, size INTEGER, changed INTEGER, used INTEGER, record BLOB, "
            "reason TEXT) WITHOUT ROWID"
        )
        database.execute("INSERT INTO looks VALUES (?, '2:1255', 1, 1, 99999, x'00', 'is empty')", (os.fsencode(path),))
    assert compute_image_stats([path], cache_dir=tmp_path).reasons == {}
    with contextlib.closing(sqlite3.connect(tmp_path / "looks.sqlite")) as database:
        (kind,) = database.execute("SELECT kind FROM looks").fetchone()
    assert kind.startswith(f"{VERSION}:")


def test_a_damaged_cache_is_replaced(tmp_path: Path) -> None:
    path = str(photograph(tmp_path / "a.png"))
    (tmp_path / "looks.sqlite").write_bytes(b"no database" * 1000)
    first = compute_image_stats([path], cache_dir=tmp_path)
    assert first.table["readable"].all()
    with sqlite3.connect(tmp_path / "looks.sqlite") as database:
        assert database.execute("SELECT count(*) FROM looks").fetchone() == (1,)
    database.close()


def test_a_cache_that_cannot_be_made_is_gone_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stats = compute_image_stats([str(photograph(tmp_path / "a.png"))], cache_dir=tmp_path / "file" / "cache")
    assert stats.table["readable"].all()


def test_blur_lowers_sharpness_and_light_does_not_change_it() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (100, 100), np.uint8)
    image = Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(1))

    def sharp(image: Image.Image) -> float:
        return sharpness(np.asarray(image, np.float32))

    assert sharp(image.filter(ImageFilter.GaussianBlur(3))) < 0.1 * sharp(image)
    assert sharp(image.point(lambda value: value // 2 + 40)) == pytest.approx(sharp(image), rel=0.1)
    assert sharp(Image.new("L", (9, 9), 7)) == 0
