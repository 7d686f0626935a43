"""All stores return the same bits; the choice of a store."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from facecls.config.load import load_config
from facecls.config.schema import AugmentConfig, Config, DataConfig
from facecls.data import augment
from facecls.data.augment import Augment
from facecls.data.folder import FaceFolder
from facecls.data.load import LoadedSplit, load_split
from facecls.data.stores.choose import (
    AvailableMemory,
    StoreKind,
    _container_available,
    available_memory,
    choose_store,
    measure_available,
    require_space,
)
from facecls.data.stores.memory import DeviceStore, decode
from facecls.device import Device
from facecls.errors import DataError
from facecls.faces.geometry import Geometry, read_face
from facecls.progress import Progress, no_progress
from facecls.run import Run
from facecls.training.train import train
from tests.conftest import Noise

STORES = ("memory", "disk", "device", "stream")
CPU = Device(torch.device("cpu"), torch.float32)

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


def load(root: Path, store: str, name: str = "train", **keys: Any) -> LoadedSplit:
    folder = FaceFolder(root)
    keys = {"image_size": 16, "cache_dir": root.parent / "cache", **keys}
    data = DataConfig(root=root, store=store, **keys)
    return load_split(name, folder.image_list, folder.classes, data, no_progress, torch.device("cpu"))


@pytest.mark.parametrize("store", STORES)
def test_every_store_returns_the_pixels_of_read_face(noise: Noise, store: str) -> None:
    split = load(noise(ada=30, bob=7), store, fit="pad", crop=0.8)
    expected = np.stack([read_face(path, Geometry(16, 0.8, "pad")) for path in split.image_list.paths])
    assert len(split.faces) == len(split) == 37
    for indices in (np.arange(37), np.array([36, 0, 5, 5]), np.array([], np.int64)):
        assert split.faces[indices].dtype == np.uint8
        assert np.array_equal(split.faces[indices], expected[indices])


@pytest.mark.parametrize("store", STORES)
def test_every_store_returns_the_batches_of_a_plan(noise: Noise, store: str) -> None:
    split = load(noise(ada=9), store)
    plan = [np.array([8, 1, 1]), np.array([0]), np.array([2, 3])]
    for _ in range(2):
        batches = list(split.faces.batches(plan, CPU))
        assert [tuple(batch.shape) for batch in batches] == [(3, 16, 16, 3), (1, 16, 16, 3), (2, 16, 16, 3)]
        assert all(np.array_equal(batch, split.faces[indices]) for batch, indices in zip(batches, plan, strict=True))


class Copies(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch's stub
    """Records of each copy of a tensor whether it is synchronous."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch's stub
        self.synchronous: list[bool] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default):
            self.synchronous.append(not (kwargs or {}).get("non_blocking", False))
        return func(*args, **(kwargs or {}))


def test_copies_to_other_devices_than_cuda_are_synchronous() -> None:
    device = torch.device("meta")  # stands for MPS, which would read the memory after it may have been reused
    faces = torch.empty((9, 16, 16, 3), dtype=torch.uint8, device=device)
    with Copies() as copies:
        (batch,) = DeviceStore(faces).batches([np.array([8, 1, 1])], Device(device, torch.float32))
        images = Augment(AugmentConfig())(batch, augment.draw(3, 0, 0, 0), 16)
    assert images.shape == (3, 3, 16, 16)
    assert copies.synchronous and all(copies.synchronous)


@pytest.mark.parametrize("store", STORES)
def test_a_subset_of_a_store_is_a_store(noise: Noise, store: str) -> None:
    faces = load(noise(ada=9), store).faces
    taken = faces.take(np.array([8, 2, 4])).take(np.array([2, 0]))
    assert len(taken) == 2
    assert np.array_equal(taken[np.array([0, 1])], faces[np.array([4, 8])])
    assert np.array_equal(next(taken.batches([np.array([1])], CPU)), faces[np.array([8])])


@pytest.mark.parametrize("store", STORES)
def test_all_unreadable_images_are_listed(noise: Noise, store: str) -> None:
    root = noise(ada=3, bob=30)
    for number in range(25):
        (root / "bob" / f"bob{number}.png").write_bytes(b"no image")
    for _ in range(2):  # also with a filled cache
        with pytest.raises(DataError) as caught:
            load(root, store)
        assert caught.value.problems[0] == f"{root / 'bob' / 'bob0.png'}: is not an image that can be read"
        assert len(caught.value.problems) == 21 and caught.value.problems[-1] == "and 5 more unreadable images"
        assert caught.value.hint == "repair or remove them, or skip them with `--set data.on_bad_image=skip`"


@pytest.mark.parametrize("store", STORES)
def test_skipped_images_are_left_out_and_reported(noise: Noise, store: str) -> None:
    root = noise(ada=3, bob=3)
    (root / "ada" / "ada1.png").write_bytes(b"")
    split = load(root, store, on_bad_image="skip")
    assert [path[-8:] for path in split.image_list.paths] == ["ada0.png", "ada2.png", "bob0.png", "bob1.png", "bob2.png"]
    assert split.image_list.labels.tolist() == [0, 0, 1, 1, 1]
    assert [str(error) for error in split.skipped] == [f"{root / 'ada' / 'ada1.png'}: is empty"]
    assert split.skipped_classes == ("ada",)
    geometry = Geometry(16)
    assert np.array_equal(split.faces[np.arange(5)], np.stack([read_face(path, geometry) for path in split.image_list.paths]))


@pytest.mark.parametrize("store", STORES)
def test_a_class_without_readable_images_is_an_error(noise: Noise, store: str) -> None:
    root = noise(ada=1, bob=3)
    (root / "ada" / "ada0.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(root, store, on_bad_image="skip")
    assert caught.value.problems == ("train: no image of `ada` can be read",)
    assert caught.value.hint == f"{root / 'ada' / 'ada0.png'}: is empty"


@pytest.mark.parametrize("store", STORES)
def test_other_splits_may_lose_a_class_but_not_all(noise: Noise, store: str) -> None:
    root = noise(ada=1, bob=3)
    (root / "ada" / "ada0.png").write_bytes(b"")
    split = load(root, store, name="val", on_bad_image="skip")
    assert split.image_list.labels.tolist() == [1, 1, 1]
    assert "val: no image of `ada` can be read" in split.notes
    for number in range(3):
        (root / "bob" / f"bob{number}.png").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        load(root, store, name="val", on_bad_image="skip")
    assert caught.value.problems == tuple(f"val: no image of `{name}` can be read" for name in ("ada", "bob"))


def test_decoding_stops_early_on_ctrl_c(noise: Noise) -> None:
    paths = FaceFolder(noise(ada=200)).image_list.paths
    read: list[int] = []

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decode(paths, Geometry(16), range(200), lambda numbers, _: read.extend(numbers), stop)
    assert len(read) < 200


def test_progress_counts_every_image(noise: Noise) -> None:
    paths = FaceFolder(noise(ada=40)).image_list.paths
    done: list[int] = []
    decode(paths, Geometry(16), range(40), lambda *_: None, done.append)
    assert sum(done) == 40


@pytest.fixture
def config(faces: Path, tiny: Callable[..., Path], tmp_path: Path) -> Callable[..., Config]:
    def make(*overrides: str) -> Config:
        return load_config(tiny(data={"root": str(faces), "image_size": 16, "cache_dir": str(tmp_path / "cache")}), overrides)

    return make


def weights(config: Config, folder: Path) -> Iterator[bytes]:
    train(config, Run(folder), Progress(), resume=False)
    checkpoint = torch.load(folder / "last.pt", weights_only=True)
    return (tensor.numpy().tobytes() for tensor in [*checkpoint["training"]["model"].values(), *checkpoint["weights"].values()])


def test_a_run_with_each_store_ends_with_the_same_weights(config: Callable[..., Config], tmp_path: Path) -> None:
    ends = {}
    for number, store in enumerate((*STORES, "disk")):  # disk twice: first decoded, then mapped
        ends[number] = list(weights(config(f"data.store={store}"), tmp_path / str(number)))
    assert all(end == ends[0] for end in ends.values())


def test_a_run_prints_its_store_and_the_reason(
    config: Callable[..., Config], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train(config("train.epochs=1"), Run(tmp_path / "run"), Progress(), resume=False)
    assert "train: store `memory`: images take 0.0 MB; memory: " in capfd.readouterr().err


@pytest.mark.parametrize(
    ("available", "kind", "reason"),
    [
        (AvailableMemory(8e9, 9e9, 8e9), "device", "images take 1.0 GB; GPU memory: 8.0 GB free"),
        (
            AvailableMemory(8e9, 9e9, 2e9),
            "memory",
            "images take 1.0 GB; GPU memory: 2.0 GB free, at most 25% of it is used; memory: 8.0 GB free",
        ),
        (AvailableMemory(8e9, 9e9), "memory", "images take 1.0 GB; memory: 8.0 GB free"),
        (
            AvailableMemory(1.5e9, 9e9),
            "disk",
            "images take 1.0 GB; memory: 1.5 GB free, at most 50% of it is used; cache disk: 9.0 GB free",
        ),
        (
            AvailableMemory(1.5e9, 9e8),
            "stream",
            "images take 1.0 GB; memory: 1.5 GB free, at most 50% of it is used; "
            "cache disk: 900.0 MB free, at most 80% of it is used",
        ),
    ],
)
def test_auto_chooses_the_fastest_store_that_is_large_enough(available: AvailableMemory, kind: str, reason: str) -> None:
    assert choose_store(1e9, available) == (kind, reason)


@pytest.mark.parametrize(
    ("kind", "available", "problem"),
    [
        (
            "memory",
            AvailableMemory(9e8, 9e9, 9e9),
            "data.store: `memory`: images take 1.0 GB, but only 900.0 MB of memory are free",
        ),
        (
            "device",
            AvailableMemory(9e9, 9e9, 9e8),
            "data.store: `device`: images take 1.0 GB, but only 900.0 MB of GPU memory are free",
        ),
        ("device", AvailableMemory(9e8, 9e9), "data.store: `device`: images take 1.0 GB, but only 900.0 MB of memory are free"),
    ],
)
def test_a_store_that_is_too_small_is_an_error_before_anything_is_read(
    kind: StoreKind, available: AvailableMemory, problem: str
) -> None:
    with pytest.raises(DataError) as caught:
        require_space(kind, 1e9, available)
    assert caught.value.problems == (problem,)
    assert caught.value.hint == "`data.store: auto` chooses a store that is large enough"
    require_space("disk", 1e9, available)
    require_space("stream", 1e9, available)
    require_space(kind, 8e8, available)


def test_available_memory_and_disk_space_are_measured(tmp_path: Path) -> None:
    available = measure_available(tmp_path / "not" / "yet", torch.device("cpu"))
    assert 1e7 < available.memory < 1e14 and available.memory == pytest.approx(available_memory(), rel=0.5)
    assert available.disk > 0 and available.device == 0
    (tmp_path / "file").touch()
    assert measure_available(tmp_path / "file" / "cache", torch.device("cpu")).disk == 0


def test_the_memory_limit_of_a_container_is_respected(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert _container_available(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert _container_available(tmp_path) is None
    assert _container_available(tmp_path / "gone") is None
