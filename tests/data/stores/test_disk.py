"""The disk cache: correct whatever happens to the cache and to the images."""

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from facecls.data.folder import FaceFolder
from facecls.data.listing import Paths
from facecls.data.stores import disk
from facecls.data.stores.disk import read_through_cache
from facecls.data.stores.memory import FaceArray, read_into_memory
from facecls.errors import DataError
from facecls.faces.geometry import Geometry
from tests.conftest import Noise, write_noise

GEOMETRY = Geometry(16)
FACE = 16 * 16 * 3

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def build(paths: Paths, cache: Path, geometry: Geometry = GEOMETRY) -> tuple[FaceArray, int]:
    """All images from the cache, and how many were decoded for that."""
    before = sum(path.stat().st_size for path in cache.rglob("faces.u8"))
    store, errors = read_through_cache(paths, geometry, Path(paths.root), cache, lambda _: None)
    assert errors == []
    added = sum(path.stat().st_size for path in cache.rglob("faces.u8")) - before
    return store[np.arange(len(paths))], added // geometry.image_size**2 // 3


def decoded(paths: Paths, geometry: Geometry = GEOMETRY) -> FaceArray:
    return read_into_memory(paths, geometry, lambda _: None)[0][np.arange(len(paths))]


def test_a_second_run_decodes_nothing(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=40)).image_list.paths
    first, count = build(paths, tmp_path / "cache")
    assert count == 40
    for path in map(Path, paths):  # other content, same fingerprint
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second, count = build(paths, tmp_path / "cache")
    assert count == 0 and np.array_equal(first, second)


def test_only_new_and_changed_images_are_decoded(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=20)
    build(FaceFolder(root).image_list.paths, tmp_path / "cache")
    write_noise(root / "ada" / "ada3.png", (30, 30))
    write_noise(root / "ada" / "new.png")
    (root / "ada" / "ada4.png").unlink()
    paths = FaceFolder(root).image_list.paths
    faces, count = build(paths, tmp_path / "cache")
    assert count == 2 and np.array_equal(faces, decoded(paths))


def test_another_split_of_the_same_folder_decodes_nothing(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=20)).image_list.paths
    build(paths, tmp_path / "cache")
    some = paths.take(np.array([7, 3, 19]))
    faces, count = build(some, tmp_path / "cache")
    assert count == 0 and np.array_equal(faces, decoded(some))


def test_the_splits_of_a_data_root_share_a_cache_however_their_paths_are_written(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = noise(ada=5)
    train = FaceFolder(root).image_list.paths
    build(train, tmp_path / "cache")
    below = Paths.of(tmp_path, [f"faces/{train.name(index)}" for index in range(5)])
    monkeypatch.chdir(tmp_path)
    for paths in (below, Paths.of("faces", map(train.name, range(5)))):
        store, _ = read_through_cache(paths, GEOMETRY, Path("faces"), tmp_path / "cache", lambda _: None)
        assert np.array_equal(store[np.arange(5)], decoded(train))
    (file,) = (tmp_path / "cache").rglob("faces.u8")
    assert file.stat().st_size == 5 * FACE


def test_each_geometry_has_its_own_cache(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=3)).image_list.paths
    for geometry in (Geometry(16), Geometry(16, 0.5), Geometry(16, 1.0, "pad"), Geometry(24)):
        assert np.array_equal(build(paths, tmp_path / "cache", geometry)[0], decoded(paths, geometry))
    assert len(list((tmp_path / "cache" / "faces").iterdir())) == 4


def test_the_cache_of_another_pillow_version_is_not_used(noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = FaceFolder(noise(ada=3)).image_list.paths
    build(paths, tmp_path / "cache")
    monkeypatch.setattr("PIL.__version__", "0.1")
    assert build(paths, tmp_path / "cache")[1] == 3


def test_an_unreadable_image_is_tried_again(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=3)
    (root / "ada" / "ada1.png").write_bytes(b"")
    paths = FaceFolder(root).image_list.paths
    for _ in range(2):
        _, errors = read_through_cache(paths, GEOMETRY, root, tmp_path / "cache", lambda _: None)
        assert [(index, error.reason) for index, error in errors] == [(1, "is empty")]
    write_noise(root / "ada" / "ada1.png")
    faces, count = build(paths, tmp_path / "cache")
    assert count == 1 and np.array_equal(faces, decoded(paths))


def test_a_truncated_cache_is_rebuilt(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=9)).image_list.paths
    build(paths, tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("faces.u8")
    for size in (5, 0):
        os.truncate(file, size * FACE)
        assert np.array_equal(build(paths, tmp_path / "cache")[0], decoded(paths))


def test_a_cache_with_damaged_fingerprints_is_rebuilt(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=9)).image_list.paths
    build(paths, tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("fingerprints")
    for content in (b"", b"damaged", file.read_bytes()[:40], os.urandom(16 * 9)):
        file.write_bytes(content)
        assert np.array_equal(build(paths, tmp_path / "cache")[0], decoded(paths))


def test_too_little_disk_space_is_an_error_before_anything_is_written(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = FaceFolder(noise(ada=9)).image_list.paths
    usage = shutil.disk_usage(tmp_path)._replace(free=63_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError) as caught:
        build(paths, tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "faces").iterdir()
    assert caught.value.problems == (f"{folder}: 9 images need 0.0 MB, but only 63.0 MB are free on this disk",)
    assert caught.value.hint == (
        "set `data.cache_dir` to another folder, or decode the images in every epoch with `data.store=stream`"
    )
    assert [path.name for path in folder.iterdir()] in ([], [".lock"])


def test_a_cache_folder_that_cannot_be_created_is_an_error(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=1)).image_list.paths
    (tmp_path / "cache").touch()
    with pytest.raises(DataError) as caught:
        build(paths, tmp_path / "cache")
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path / 'cache' / 'faces' / 'faces-16-'}")
    assert problem.endswith(": cannot be created: not a directory")
    assert caught.value.hint == "set `data.cache_dir` to another folder"


def in_child(paths: Paths, cache: Path) -> multiprocessing.process.BaseProcess:
    """Builds the cache in another process, which writes the fingerprints as often as possible."""
    child = multiprocessing.get_context("fork").Process(target=_build, args=(paths, cache))
    child.start()
    return child


def _build(paths: Paths, cache: Path) -> None:
    disk._COMMIT_SECONDS = 0
    build(paths, cache)


@pytest.fixture
def cache_of(tmp_path: Path) -> Callable[[int], Path]:
    return lambda number: tmp_path / f"cache{number}"


def test_a_build_killed_at_any_moment_leaves_no_wrong_images(noise: Noise, cache_of: Callable[[int], Path]) -> None:
    paths = FaceFolder(noise(ada=300)).image_list.paths
    expected = decoded(paths)
    uninterrupted = in_child(paths, cache_of(0))
    start = time.perf_counter()
    uninterrupted.join()
    seconds = time.perf_counter() - start
    kills = int(os.environ.get("FACECLS_KILLS", "3"))
    generator = random.Random(0)
    stopped = 0
    for number in range(1, kills + 1):
        for _ in range(2):  # the second continues where the first was killed
            child = in_child(paths, cache_of(number))
            time.sleep(generator.uniform(0, seconds))
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            stopped += child.exitcode == -signal.SIGKILL
        assert np.array_equal(build(paths, cache_of(number))[0], expected)
    assert stopped > 0


def test_concurrent_builds_decode_every_image_once(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=100)).image_list.paths
    children = [in_child(some, tmp_path / "cache") for some in (paths, paths, paths.take(np.arange(50, 100)))]
    for child in children:
        child.join()
        assert child.exitcode == 0
    faces, count = build(paths, tmp_path / "cache")
    assert count == 0 and np.array_equal(faces, decoded(paths))
    (file,) = (tmp_path / "cache").rglob("faces.u8")
    assert file.stat().st_size == 100 * FACE


def test_a_reader_is_not_disturbed_by_a_writer(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=10)
    paths = FaceFolder(root).image_list.paths
    store, _ = read_through_cache(paths, GEOMETRY, root, tmp_path / "cache", lambda _: None)
    before = decoded(paths)
    for path in map(Path, paths):
        write_noise(path, (30, 30))
    build(FaceFolder(noise(ada=30)).image_list.paths, tmp_path / "cache")
    assert np.array_equal(store[np.arange(10)], before)
