"""Faces on disk: right after whatever has happened to the cache and to the images."""

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
from facecls.data.stores.disk import on_disk
from facecls.data.stores.memory import Faces, in_memory
from facecls.errors import DataError
from facecls.faces.geometry import Geometry
from tests.conftest import Noise, write_noise

GEOMETRY = Geometry(16)
FACE = 16 * 16 * 3

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def build(paths: Paths, cache: Path, geometry: Geometry = GEOMETRY) -> tuple[Faces, int]:
    """All faces as the cache gives them, and how many were decoded for that."""
    before = sum(path.stat().st_size for path in cache.rglob("faces.u8"))
    store, bad = on_disk(paths, geometry, Path(paths.root), cache, lambda _: None)
    assert bad == []
    ramp = sum(path.stat().st_size for path in cache.rglob("faces.u8")) - before
    return store[np.arange(len(paths))], ramp // geometry.image_size**2 // 3


def decoded(paths: Paths, geometry: Geometry = GEOMETRY) -> Faces:
    return in_memory(paths, geometry, lambda _: None)[0][np.arange(len(paths))]


def test_a_second_run_decodes_nothing(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=40)).paths
    first, count = build(paths, tmp_path / "cache")
    assert count == 40
    for path in map(Path, paths):  # what was decoded is gone, its stamp is not
        status = path.stat()
        path.write_bytes(bytes(status.st_size))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second, count = build(paths, tmp_path / "cache")
    assert count == 0 and np.array_equal(first, second)


def test_only_what_has_changed_is_decoded_again(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=20)
    build(FaceFolder(root).paths, tmp_path / "cache")
    write_noise(root / "ada" / "ada3.png", (30, 30))
    write_noise(root / "ada" / "new.png")
    (root / "ada" / "ada4.png").unlink()
    paths = FaceFolder(root).paths
    faces, count = build(paths, tmp_path / "cache")
    assert count == 2 and np.array_equal(faces, decoded(paths))


def test_another_split_of_the_same_folder_decodes_nothing(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=20)).paths
    build(paths, tmp_path / "cache")
    some = paths.take(np.array([7, 3, 19]))
    faces, count = build(some, tmp_path / "cache")
    assert count == 0 and np.array_equal(faces, decoded(some))


def test_the_parts_of_a_data_root_share_a_cache_wherever_their_folders_are_named_from(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = noise(ada=5)
    train = FaceFolder(root).paths
    build(train, tmp_path / "cache")
    below = Paths.of(tmp_path, [f"faces/{train.name(index)}" for index in range(5)])
    monkeypatch.chdir(tmp_path)
    for paths in (below, Paths.of("faces", map(train.name, range(5)))):
        store, _ = on_disk(paths, GEOMETRY, Path("faces"), tmp_path / "cache", lambda _: None)
        assert np.array_equal(store[np.arange(5)], decoded(train))
    (file,) = (tmp_path / "cache").rglob("faces.u8")
    assert file.stat().st_size == 5 * FACE


def test_another_geometry_has_faces_of_its_own(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=3)).paths
    for geometry in (Geometry(16), Geometry(16, 0.5), Geometry(16, 1.0, "pad"), Geometry(24)):
        assert np.array_equal(build(paths, tmp_path / "cache", geometry)[0], decoded(paths, geometry))
    assert len(list((tmp_path / "cache" / "faces").iterdir())) == 4


def test_faces_of_another_pillow_are_not_used(noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = FaceFolder(noise(ada=3)).paths
    build(paths, tmp_path / "cache")
    monkeypatch.setattr("PIL.__version__", "0.1")
    assert build(paths, tmp_path / "cache")[1] == 3


def test_a_image_that_was_bad_is_tried_again(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=3)
    (root / "ada" / "ada1.png").write_bytes(b"")
    paths = FaceFolder(root).paths
    for _ in range(2):
        _, bad = on_disk(paths, GEOMETRY, root, tmp_path / "cache", lambda _: None)
        assert [(index, error.reason) for index, error in bad] == [(1, "is empty")]
    write_noise(root / "ada" / "ada1.png")
    faces, count = build(paths, tmp_path / "cache")
    assert count == 1 and np.array_equal(faces, decoded(paths))


def test_a_cache_that_lost_its_faces_is_filled_anew(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=9)).paths
    build(paths, tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("faces.u8")
    for size in (5, 0):
        os.truncate(file, size * FACE)
        assert np.array_equal(build(paths, tmp_path / "cache")[0], decoded(paths))


def test_a_cache_with_damaged_stamps_is_filled_anew(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=9)).paths
    build(paths, tmp_path / "cache")
    (file,) = (tmp_path / "cache").rglob("stamps")
    for content in (b"", b"damaged", file.read_bytes()[:40], os.urandom(16 * 9)):
        file.write_bytes(content)
        assert np.array_equal(build(paths, tmp_path / "cache")[0], decoded(paths))


def test_too_little_room_is_an_error_before_the_first_byte(
    noise: Noise, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = FaceFolder(noise(ada=9)).paths
    usage = shutil.disk_usage(tmp_path)._replace(free=63_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DataError) as caught:
        build(paths, tmp_path / "cache")
    (folder,) = (tmp_path / "cache" / "faces").iterdir()
    assert caught.value.problems == (f"{folder}: 9 faces take 0 MB, and 63 MB are free on this disk",)
    assert caught.value.hint == ("name another place with data.cache_dir, or decode anew in every epoch with data.store=stream")
    assert [path.name for path in folder.iterdir()] in ([], [".lock"])


def test_a_cache_folder_that_cannot_be_made_is_named(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=1)).paths
    (tmp_path / "cache").touch()
    with pytest.raises(DataError) as caught:
        build(paths, tmp_path / "cache")
    (problem,) = caught.value.problems
    assert problem.startswith(f"{tmp_path / 'cache' / 'faces' / 'faces-16-'}")
    assert problem.endswith(": cannot be made: not a directory")
    assert caught.value.hint == "name another place with data.cache_dir"


def in_child(paths: Paths, cache: Path) -> multiprocessing.process.BaseProcess:
    """Builds the cache in a process of its own, writing its stamps as often as can be."""
    child = multiprocessing.get_context("fork").Process(target=_build, args=(paths, cache))
    child.start()
    return child


def _build(paths: Paths, cache: Path) -> None:
    disk._SECONDS = 0
    build(paths, cache)


@pytest.fixture
def cache_of(tmp_path: Path) -> Callable[[int], Path]:
    return lambda number: tmp_path / f"cache{number}"


def test_a_build_killed_at_any_moment_leaves_no_wrong_faces(noise: Noise, cache_of: Callable[[int], Path]) -> None:
    paths = FaceFolder(noise(ada=300)).paths
    expected = decoded(paths)
    whole = in_child(paths, cache_of(0))
    begun = time.perf_counter()
    whole.join()
    took = time.perf_counter() - begun
    kills = int(os.environ.get("FACECLS_KILLS", "3"))
    chance = random.Random(0)
    stopped = 0
    for number in range(1, kills + 1):
        for _ in range(2):  # the second one goes on where the first was killed
            child = in_child(paths, cache_of(number))
            time.sleep(chance.uniform(0, took))
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            child.join()
            stopped += child.exitcode == -signal.SIGKILL
        assert np.array_equal(build(paths, cache_of(number))[0], expected)
    assert stopped > 0


def test_two_builds_at_once_do_not_harm_each_other(noise: Noise, tmp_path: Path) -> None:
    paths = FaceFolder(noise(ada=100)).paths
    children = [in_child(some, tmp_path / "cache") for some in (paths, paths, paths.take(np.arange(50, 100)))]
    for child in children:
        child.join()
        assert child.exitcode == 0
    faces, count = build(paths, tmp_path / "cache")
    assert count == 0 and np.array_equal(faces, decoded(paths))
    (file,) = (tmp_path / "cache").rglob("faces.u8")
    assert file.stat().st_size == 100 * FACE


def test_who_reads_while_another_adds_goes_on_reading_the_same(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=10)
    paths = FaceFolder(root).paths
    store, _ = on_disk(paths, GEOMETRY, root, tmp_path / "cache", lambda _: None)
    before = decoded(paths)
    for path in map(Path, paths):
        write_noise(path, (30, 30))
    build(FaceFolder(noise(ada=30)).paths, tmp_path / "cache")
    assert np.array_equal(store[np.arange(10)], before)
