"""Training and evaluation batches: order, sharding, prefetching and class balance."""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from facecls.config.data import Balance
from facecls.data.listing import ImageList, Indices, Paths
from facecls.data.load import LoadedSplit
from facecls.data.sampler import Batch, TrainLoader, balanced_order, check_weights, eval_batches, loss_weights, steps_per_epoch
from facecls.data.stores.memory import ArrayStore, DeviceStore, FaceArray, Store
from facecls.device import Device
from facecls.errors import DataError

CPU = Device(torch.device("cpu"), torch.float32)


def split(counts: list[int], *, on_device: bool = False) -> LoadedSplit:
    """Images of one pixel, whose red and green encode their index."""
    count = sum(counts)
    faces = np.zeros((count, 1, 1, 3), np.uint8)
    faces[:, 0, 0, 0], faces[:, 0, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    store: Store = DeviceStore(torch.from_numpy(faces)) if on_device else ArrayStore(faces)
    return LoadedSplit("train", ImageList(Paths.of(Path(), map(str, range(count))), labels), store)


def indices(batch: Batch) -> list[int]:
    return (batch.faces[:, 0, 0, 0].int() + 256 * batch.faces[:, 0, 0, 1].int()).tolist()


@pytest.mark.parametrize("on_device", [False, True])
def test_an_epoch_has_every_image_once_with_its_label(on_device: bool) -> None:
    faces = split([200, 103], on_device=on_device)
    batches = list(TrainLoader(faces, 32, 0, CPU).epoch(3))
    seen = [index for batch in batches for index in indices(batch)]
    assert sorted(seen) == list(range(303))
    assert [label for batch in batches for label in batch.labels.tolist()] == faces.image_list.labels[seen].tolist()
    assert [batch.step for batch in batches] == list(range(9))
    assert all(batch.draws.shape == (len(batch.labels), 14) and batch.labels.dtype == torch.int64 for batch in batches)


def test_steps_differ_in_size_by_at_most_one() -> None:
    for count, batch_size in ((303, 32), (5, 64), (65, 64), (64, 64), (2, 1)):
        batches = TrainLoader(split([count]), batch_size, 0, CPU)
        sizes = [len(batch.labels) for batch in batches.epoch(0)]
        assert max(sizes) - min(sizes) <= 1 and sum(sizes) == count and len(sizes) == batches.steps
        assert [batches.images_seen(step) for step in range(len(sizes) + 1)] == [0, *np.cumsum(sizes)]


def test_the_largest_step_is_bounded_by_the_number_of_steps() -> None:
    assert [steps_per_epoch(count, 64) for count in (1, 64, 95, 96, 160, 161)] == [1, 1, 1, 2, 2, 3]
    for count in range(1, 1000):
        steps = steps_per_epoch(count, 64)
        assert count / steps <= 64 * (1 + 1 / (2 * steps))


@pytest.mark.parametrize("balance", ["none", "sampler"])
def test_the_order_is_a_function_of_seed_and_epoch(balance: Balance) -> None:
    def order(seed: int, epoch: int) -> list[int]:
        indices: list[int] = TrainLoader(split([30, 20]), 8, seed, CPU, balance=balance).order(epoch).tolist()
        return indices

    assert order(1, 2) == order(1, 2)
    assert order(1, 2) != order(1, 3) and order(1, 2) != order(2, 2)


@pytest.mark.parametrize("step", [0, 4, 9])
def test_an_epoch_resumed_at_a_step_has_the_same_batches(step: int) -> None:
    whole = list(TrainLoader(split([80]), 8, 0, CPU).epoch(1))
    rest = list(TrainLoader(split([80]), 8, 0, CPU).epoch(1, step))
    assert [batch.step for batch in rest] == list(range(step, 10))
    for one, same in zip(whole[step:], rest, strict=True):
        assert torch.equal(one.faces, same.faces) and torch.equal(one.labels, same.labels)
        assert torch.equal(one.draws, same.draws)


def test_the_processes_of_a_group_share_the_batches_of_a_single_process() -> None:
    single = list(TrainLoader(split([50]), 12, 0, CPU).epoch(0))
    ranks = [list(TrainLoader(split([50]), 12, 0, CPU, rank, 3).epoch(0)) for rank in range(3)]
    for step, whole in enumerate(single):
        shares = [batches[step] for batches in ranks]
        assert torch.equal(torch.cat([share.faces for share in shares]), whole.faces)
        assert torch.equal(torch.cat([share.draws for share in shares]), whole.draws)
        assert torch.equal(torch.cat([share.labels for share in shares]), whole.labels)
        assert {share.global_size for share in shares} == {len(whole.labels)}


def test_a_batch_is_split_into_micro_batches() -> None:
    (batch,) = TrainLoader(split([7]), 8, 0, CPU).epoch(0)
    micro_batches = list(batch.micro_batches(3))
    assert [len(labels) for _, labels, _ in micro_batches] == [3, 2, 2]
    assert torch.equal(torch.cat([faces for faces, _, _ in micro_batches]), batch.faces)
    assert len(list(batch.micro_batches(100))) == 7


class RecordingStore(ArrayStore):
    """Sleeps before each batch, and records the threads that prepare batches."""

    def __init__(self, faces: FaceArray, seconds: float) -> None:
        super().__init__(faces)
        self.seconds = seconds
        self.threads: set[str] = set()

    def batches(self, plan: Sequence[Indices], device: Device) -> Iterator[Tensor]:
        for faces in super().batches(plan, device):
            self.threads.add(threading.current_thread().name)
            time.sleep(self.seconds)
            yield faces


def recorded(folder: Path, *, mapped: bool, seconds: float = 0.0) -> tuple[LoadedSplit, RecordingStore]:
    loaded = split([50, 30])
    faces = loaded.faces[np.arange(80)]
    if mapped:
        faces.tofile(folder / "faces")
        faces = np.memmap(folder / "faces", np.uint8, "r", shape=faces.shape)
    store = RecordingStore(faces, seconds)
    return replace(loaded, faces=store), store


@pytest.mark.parametrize("mapped", [False, True])
def test_data_wait_is_the_time_blocked_on_batches(mapped: bool, tmp_path: Path) -> None:
    slow, _ = recorded(tmp_path, mapped=mapped, seconds=0.06)
    batches = TrainLoader(slow, 16, 0, CPU)
    list(batches.epoch(0))
    assert batches.data_wait >= 0.3
    fast, _ = recorded(tmp_path, mapped=mapped)
    batches = TrainLoader(fast, 16, 0, CPU)
    for _ in batches.epoch(0):
        time.sleep(0.1)
    assert batches.data_wait < 0.25


def test_batches_are_prefetched_unless_they_are_copied_from_memory(tmp_path: Path) -> None:
    from_memory, memory = recorded(tmp_path, mapped=False)
    from_disk, disk = recorded(tmp_path, mapped=True)
    for one, other in zip(
        TrainLoader(from_memory, 8, 0, CPU).epoch(1), TrainLoader(from_disk, 8, 0, CPU).epoch(1), strict=True
    ):
        assert torch.equal(one.faces, other.faces) and torch.equal(one.labels, other.labels)
        assert torch.equal(one.draws, other.draws)
    assert memory.threads == {threading.current_thread().name}
    assert all(name.startswith("facecls-prefetch") for name in disk.threads) and len(disk.threads) == 1


@pytest.mark.parametrize("on_device", [False, True])
def test_evaluation_batches_keep_the_order_of_the_images(on_device: bool) -> None:
    images = list(eval_batches(split([10, 13], on_device=on_device), 8, CPU))
    assert [tuple(each.shape) for each in images] == [(8, 3, 1, 1), (8, 3, 1, 1), (7, 3, 1, 1)]
    assert torch.equal((torch.cat(images)[:, 0, 0, 0] * 255).round().int(), torch.arange(23, dtype=torch.int32))
    shares = [list(eval_batches(split([10, 13]), 8, CPU, rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([each for share in shares for each in share]), torch.cat(images))


def test_a_balanced_epoch_has_equally_many_images_of_each_class() -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), [90, 9, 2])
    order = balanced_order(labels, (0, 0))
    assert len(order) == 101
    assert sorted(np.bincount(labels[order])) == [33, 34, 34]
    times = np.bincount(order, minlength=101)
    assert set(times[:90]) == {0, 1} and set(times[90:99]) <= {3, 4} and set(times[99:]) <= {16, 17}


def test_over_many_epochs_the_images_of_a_class_are_equally_frequent() -> None:
    labels = np.repeat(np.arange(2, dtype=np.int32), [30, 6])
    times = np.sum([np.bincount(balanced_order(labels, (0, epoch)), minlength=36) for epoch in range(300)], axis=0)
    assert np.allclose(times[:30], 300 * 18 / 30, rtol=0.25) and np.allclose(times[30:], 300 * 18 / 6, rtol=0.01)


def test_class_weights_are_inverse_to_the_class_sizes() -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), [60, 30, 10])
    weights = loss_weights("loss", labels, "abc")
    assert weights is not None and weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx([100 / 180, 100 / 90, 100 / 30])
    assert weights[torch.from_numpy(labels).long()].mean().item() == pytest.approx(1)


def test_only_balance_loss_has_class_weights() -> None:
    labels = np.array([0, 1, 1], np.int32)
    assert loss_weights("none", labels, "ab") is None and loss_weights("sampler", labels, "ab") is None
    weights = loss_weights("loss", labels, "ab")
    assert weights is not None and weights.tolist() == [1.5, 0.75]


def test_weights_by_class_are_relative_to_the_others_with_a_mean_of_1_over_the_images() -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), [6, 3, 1])
    weights = loss_weights({"b": 4.0}, labels, "abc")
    assert weights is not None
    assert weights[labels].mean() == pytest.approx(1)
    assert (weights / weights[0]).tolist() == pytest.approx([1, 4, 1])


def test_weights_name_classes_only() -> None:
    check_weights({"a": 2.0}, "abc")
    check_weights("loss", "abc")
    with pytest.raises(DataError) as raised:
        check_weights({"a": 2.0, "x": 1.0, "y": 3.0}, ("a", "b"))
    assert raised.value.problems == ("data.balance: `x` is not a class", "data.balance: `y` is not a class")
    assert raised.value.hint == "the classes are `a`, `b`"
