"""The stream store: images decoded in every epoch by worker processes."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from facecls.checkpoint import read_plain
from facecls.config.load import load_config
from facecls.data.folder import FaceFolder
from facecls.data.stores.stream import StreamStore, open_stream
from facecls.device import Device
from facecls.errors import ImageError
from facecls.faces.geometry import Geometry, read_face
from facecls.training.signals import Interrupted
from tests.conftest import Noise
from tests.training.runs import EVERYTHING, run_in, same, weights
from tests.training.test_loop import interrupted_at

GEOMETRY = Geometry(16)
CPU = Device(torch.device("cpu"), torch.float32)

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.mark.parametrize(("method", "workers"), [("fork", 2), ("spawn", 1)])
def test_batches_have_the_order_of_the_plan_in_every_epoch(noise: Noise, method: str, workers: int) -> None:
    paths = FaceFolder(noise(ada=20)).image_list.paths
    faces = np.stack([read_face(path, GEOMETRY) for path in paths])
    store = StreamStore(paths, GEOMETRY, workers=workers, start_method=method)
    for epoch in range(3):
        plan = np.array_split(np.random.default_rng(epoch).permutation(20), 7)
        batches = list(store.batches(plan, CPU))
        assert np.array_equal(torch.cat(batches).numpy(), faces[np.concatenate(plan)])


def test_a_new_plan_ends_an_unfinished_one(noise: Noise) -> None:
    store = StreamStore(FaceFolder(noise(ada=20)).image_list.paths, GEOMETRY, workers=2, start_method="fork")
    faces = store[np.arange(20)]
    assert np.array_equal(next(store.batches([np.array([number]) for number in range(20)], CPU)), faces[:1])
    batches = list(store.batches([np.array([number]) for number in reversed(range(20))], CPU))
    assert np.array_equal(torch.cat(batches).numpy(), faces[::-1])


def test_streaming_does_not_advance_the_global_random_generator(noise: Noise) -> None:
    store = StreamStore(FaceFolder(noise(ada=2)).image_list.paths, GEOMETRY, workers=1, start_method="fork")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    list(store.batches([np.array([0])], CPU))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_file_that_becomes_unreadable_is_an_error(noise: Noise) -> None:
    root = noise(ada=4)
    store = StreamStore(FaceFolder(root).image_list.paths, GEOMETRY, workers=1, start_method="fork")
    plan = [np.array([0]), np.array([1]), np.array([2])]
    assert len(list(store.batches(plan, CPU))) == 3
    broken = root / "ada" / "ada1.png"
    broken.write_bytes(broken.read_bytes()[:50])
    batches = store.batches(plan, CPU)
    next(batches)
    for call in (lambda: next(batches), lambda: store[np.array([1])]):
        with pytest.raises(ImageError) as caught:
            call()
        assert caught.value.path == str(broken)
        assert str(caught.value).endswith("; it was readable at the start")
        assert caught.value.hint == "restore the file and continue with `--resume`"


def test_a_resumed_run_with_the_stream_store_ends_with_the_same_weights(
    tiny: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(tiny(**EVERYTHING, data={"store": "stream", "cache_dir": str(tmp_path / "cache")}))
    run_in(tmp_path / "uninterrupted", config)
    with monkeypatch.context() as patch:
        interrupted_at(3, patch)  # of the six steps, in the middle of an epoch
        with pytest.raises(Interrupted):
            run_in(tmp_path / "interrupted", config)
    assert read_plain(tmp_path / "interrupted" / "last.pt")["training"]["step"] == 1
    run_in(tmp_path / "interrupted", config, resume=True)
    assert same(weights(tmp_path / "uninterrupted"), weights(tmp_path / "interrupted"))


def test_a_readable_image_is_not_checked_again_until_it_changes(noise: Noise, tmp_path: Path) -> None:
    root = noise(ada=4)
    (root / "ada" / "ada2.png").write_bytes(b"")
    paths = FaceFolder(root).image_list.paths
    for _ in range(2):
        _, errors = open_stream(paths, GEOMETRY, root, tmp_path / "cache", lambda _: None)
        assert [(index, error.reason) for index, error in errors] == [(2, "is empty")]
    (file,) = (tmp_path / "cache").rglob("readable")
    assert file.stat().st_size == 3 * 16
    (root / "ada" / "ada0.png").write_bytes(b"")
    _, errors = open_stream(paths, GEOMETRY, root, tmp_path / "cache", lambda _: None)
    assert [index for index, _ in errors] == [0, 2]


def test_streaming_works_without_a_writable_cache(noise: Noise, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    root = noise(ada=4)
    store, errors = open_stream(FaceFolder(root).image_list.paths, GEOMETRY, root, tmp_path / "cache", lambda _: None)
    assert len(store) == 4 and errors == []
