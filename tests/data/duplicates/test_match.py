"""Near-duplicates are found however a photograph was saved again; other photographs are not."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from facecls.data.duplicates.image_stats import STATS_DTYPE, ImageStats, compute_image_stats
from facecls.data.duplicates.match import connected_components, exact_pairs, near_duplicate_groups, near_duplicate_pairs
from facecls.data.duplicates.registration import similarity
from facecls.faces.decode import open_image

Change = Callable[[Image.Image], Image.Image]


def crop(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((round(0.03 * width), round(0.02 * height), round(0.99 * width), round(0.97 * height)))


CHANGES: dict[str, Change] = {
    "as it is": lambda image: image,
    "smaller": lambda image: image.resize((image.width * 2 // 3, image.height * 2 // 3)),
    "larger": lambda image: image.resize((image.width * 3 // 2, image.height * 3 // 2)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "less contrast": lambda image: ImageEnhance.Contrast(image).enhance(0.7),
    "grey": lambda image: image.convert("L"),
    "cropped": crop,
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.fixture(scope="module")
def paths(faces: Path) -> list[str]:
    return [str(path) for path in sorted(faces.glob("*/*"))]


@pytest.mark.parametrize("change", CHANGES)
def test_copies_saved_again_are_near_duplicates_of_their_originals_only(paths: list[str], tmp_path: Path, change: str) -> None:
    copies = [tmp_path / f"{number}.jpg" for number in range(len(paths))]
    for path, copy in zip(paths, copies, strict=True):
        CHANGES[change](open_image(path)).save(copy, quality=70)
    stats = compute_image_stats([*paths, *map(str, copies)], cache_dir=tmp_path)
    pairs = near_duplicate_pairs(stats).tolist()
    assert all(copy - original == len(paths) for original, copy in pairs)
    # Crops and mirror images move every pixel: most are found. The other changes move none: all are found.
    assert len(pairs) >= (0.85 if change in ("cropped", "mirrored") else 1.0) * len(paths)
    assert len(exact_pairs(stats)) == 0


def test_different_photographs_of_a_person_are_not_duplicates(paths: list[str], tmp_path: Path) -> None:
    assert near_duplicate_groups(paths, cache_dir=tmp_path).tolist() == list(range(len(paths)))


def test_the_same_pixels_in_another_file_are_an_exact_copy(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=1)
    Image.fromarray(pixels).save(tmp_path / "b.png", compress_level=9)
    shutil.copy(tmp_path / "a.png", tmp_path / "c.png")
    stats = compute_image_stats([str(tmp_path / name) for name in ("a.png", "b.png", "c.png")], cache_dir=tmp_path)
    assert exact_pairs(stats).tolist() == [[0, 1], [0, 2]]
    assert exact_pairs(stats, "file_hash").tolist() == [[0, 2]]
    assert len(near_duplicate_pairs(stats)) == 0


def test_flat_images_are_not_near_duplicates(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for number in range(20):
        noise = generator.normal(120 + number, 2, (48, 48)).clip(0, 255).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{number}.jpg")
    paths = [str(path) for path in sorted(tmp_path.glob("*.jpg"))]
    assert len(near_duplicate_pairs(compute_image_stats(paths, cache_dir=tmp_path))) == 0


def test_an_unreadable_image_is_its_own_group(paths: list[str], tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"the same, but no image")
    given = [str(tmp_path / "a.jpg"), paths[0], str(tmp_path / "b.jpg"), paths[0], str(tmp_path / "missing.jpg")]
    assert near_duplicate_groups(given, cache_dir=tmp_path).tolist() == [0, 1, 2, 1, 4]


def test_without_images_there_are_no_groups(tmp_path: Path) -> None:
    assert near_duplicate_groups([], cache_dir=tmp_path).shape == (0,)


def test_a_chain_of_pairs_is_one_component() -> None:
    assert connected_components(6, np.array([[4, 5], [2, 4], [0, 3]])).tolist() == [0, 1, 2, 0, 2, 2]


def test_components_equal_those_of_pairs_merged_one_by_one() -> None:
    generator = np.random.default_rng(0)
    for count in (1, 2, 10, 100):
        for share in (0, 0.3, 0.5, 1):
            pairs = generator.integers(0, count, (round(share * count), 2))
            expected = np.arange(count)
            for one, other in expected[pairs]:
                merged = (expected == expected[one]) | (expected == expected[other])
                expected[merged] = expected[merged].min()
            assert connected_components(count, pairs).tolist() == expected.tolist()


def test_a_chain_of_a_hundred_thousand_pairs_is_fast() -> None:
    order = np.random.default_rng(0).permutation(100_000)
    start = time.process_time()
    assert (connected_components(len(order), np.stack([order[:-1], order[1:]], axis=1)) == 0).all()
    assert time.process_time() - start < 2  # 0.01 s, and the import of scipy


def test_a_thousand_equal_hashes_make_few_pairs() -> None:
    table = np.zeros(1000, STATS_DTYPE)
    table["readable"], table["spread"], table["width"], table["height"] = True, 50, 100, 100
    table["pixel_hash"] = [str(number).encode() for number in range(len(table))]
    table["thumb"] = np.random.default_rng(0).integers(0, 256, (32, 32), np.uint8)
    pairs = near_duplicate_pairs(ImageStats(table, {}))
    assert len(pairs) < 3 * len(table)
    assert (connected_components(len(table), pairs) == 0).all()


def test_the_result_does_not_depend_on_the_order_of_the_images(paths: list[str], tmp_path: Path) -> None:
    for number, path in enumerate(paths[::3]):
        crop(open_image(path)).save(tmp_path / f"{number}.jpg")
    given = [*paths, *(str(path) for path in sorted(tmp_path.glob("*.jpg")))]
    stats = compute_image_stats(given, cache_dir=tmp_path)
    order = np.random.default_rng(0).permutation(len(given))
    pairs = {frozenset(pair) for pair in near_duplicate_pairs(stats).tolist()}
    assert len(pairs) > 8
    assert {frozenset(order[pair].tolist()) for pair in near_duplicate_pairs(ImageStats(stats.table[order], {}))} == pairs


def test_similarity_is_high_after_a_shift_and_low_for_noise() -> None:
    generator = np.random.default_rng(1)
    smooth = np.asarray(
        Image.fromarray(generator.integers(0, 256, (12, 12), np.uint8)).resize((36, 36), Image.Resampling.BICUBIC)
    )
    one, shifted = smooth[None, 2:34, 2:34].copy(), smooth[None, 3:35, 1:33].copy()
    other = generator.integers(0, 256, (1, 32, 32), np.uint8)
    assert similarity(one, one)[0] == pytest.approx(1, abs=1e-3)
    assert similarity(one, shifted)[0] > 0.95
    assert similarity(one, other)[0] < 0.5
