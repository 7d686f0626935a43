"""Damaged files and files that are not images: decoded as by Pillow or rejected, in bounded time and memory."""

from pathlib import Path

import pytest
from PIL import ExifTags, Image

from facecls.errors import ImageError
from facecls.faces.decode import open_image
from tests.faces.check_decoding import check_in_subprocess
from tests.faces.mutations import originals, write_cut, write_damaged, write_oddities

MEGABYTES = 512


def test_the_same_seed_writes_the_same_files(tmp_path: Path) -> None:
    first, second, third = tmp_path / "first", tmp_path / "second", tmp_path / "third"
    for folder, seed in ((first, 5), (second, 5), (third, 6)):
        folder.mkdir()
        write_damaged(folder, seed, each=2)
    assert [path.name for path in sorted(first.iterdir())] == [path.name for path in sorted(second.iterdir())]
    data = [[path.read_bytes() for path in sorted(folder.iterdir())] for folder in (first, second, third)]
    assert data[0] == data[1] != data[2]


def test_every_original_is_decoded(tmp_path: Path) -> None:
    for name, data in originals().items():
        (tmp_path / name).write_bytes(data)
    counts = check_in_subprocess(tmp_path)
    assert counts.decoded == counts.files == len(originals())
    assert {Path(name).suffix for name in originals()} >= {
        *(".jpg", ".png", ".gif", ".bmp", ".webp", ".tif", ".ppm", ".pgm", ".avif", ".jp2")
    }


def test_each_of_over_2000_damaged_files_is_decoded_as_by_pillow_or_rejected(tmp_path: Path) -> None:
    written = write_cut(tmp_path) + write_damaged(tmp_path, seed=0, each=75)
    assert len(written) >= 2000
    counts = check_in_subprocess(tmp_path)  # raises if any is decoded wrongly or takes longer than 20 s
    assert counts.files == len(written)
    assert counts.decoded > 400
    assert sum(counts.reasons.values()) > 1000
    assert counts.memory_growth_mb < MEGABYTES


def test_odd_files_are_decoded_or_rejected_with_the_expected_reason(tmp_path: Path) -> None:
    for path, reason in write_oddities(tmp_path).items():
        if reason is None:
            assert open_image(path).mode == "RGB", path
            continue
        with pytest.raises(ImageError) as caught:
            open_image(path)
        assert caught.value.reason == reason, path
        assert caught.value.path == str(path)


def test_the_largest_accepted_images_stay_below_the_memory_limit(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.new("L", (16384, 12207)).save(tmp_path / "shrunk.jpg", exif=turned)
    Image.new("RGB", (7900, 5000)).save(tmp_path / "scans.jpg", progressive=True, subsampling=0, exif=turned)
    Image.new("RGBA", (10000, 5000)).save(tmp_path / "alpha.png", compress_level=1, exif=turned)
    Image.new("RGB", (6000, 4000)).save(tmp_path / "canvas.webp", method=0, exif=turned)
    counts = check_in_subprocess(tmp_path)
    assert counts.reasons == {"claims 16384 x 12207 pixels, more than 50 million": 1}  # when it is decoded at full size
    assert 300 < counts.memory_growth_mb < MEGABYTES
