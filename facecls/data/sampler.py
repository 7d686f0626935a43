"""Which faces form step k of epoch e; fetched ahead of time, where that saves any."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecls import seeding
from facecls.data import augment
from facecls.data.listing import Indices
from facecls.data.load import LoadedSplit
from facecls.data.stores.memory import ArrayStore
from facecls.device import Device
from facecls.prefetch import prefetch

T = TypeVar("T")
Balance = Literal["none", "sampler", "loss"]


@dataclass(frozen=True)
class Batch:
    """The faces of one step, not yet augmented, on the training device."""

    step: int
    faces: Tensor  # uint8 (B, S, S, 3)
    labels: Tensor  # int64 (B,)
    draws: Tensor  # uniform (B, 14), what augmentation is drawn from
    global_size: int  # of the step's faces in all processes

    def micro_batches(self, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The batch in up to `count` pieces of about equal size, each (faces, labels, draws)."""
        count = min(count, len(self.labels))
        return zip(*(tensor.tensor_split(count) for tensor in (self.faces, self.labels, self.draws)), strict=True)


class TrainLoader:
    """The batches of a part, epoch by epoch; `waited` counts the seconds in which a step had to wait for its faces.

    An epoch goes through every face once, or, with `balance: sampler`, through as many faces of each class. Its order is a
    function of (seed, epoch), its steps' sizes differ by at most one, so that no last batch of one face upsets batch norm,
    and step k can be had without the steps before it. Process `rank` of `ranks` gets its share of every step, the same
    faces and draws that one process alone would have there.
    """

    def __init__(
        self,
        split: LoadedSplit,
        batch_size: int,
        seed: int,
        device: Device,
        rank: int = 0,
        ranks: int = 1,
        balance: Balance = "none",
    ) -> None:
        self.split = split
        self.seed = seed
        self.device = device
        self.rank = rank
        self.ranks = ranks
        self.balance = balance
        self.steps = steps_of(len(split), batch_size)
        self.data_wait = 0.0

    def order(self, epoch: int) -> Indices:
        """The numbers of faces, (N,), in the order in which an epoch goes through them."""
        if self.balance == "sampler":
            return balanced_order(self.split.image_list.labels, (self.seed, epoch))
        return torch.randperm(len(self.split), generator=seeding.generator("order", self.seed, epoch)).numpy()

    def faces_until(self, step: int) -> int:
        """How many faces the first `step` steps of an epoch hold."""
        smaller, larger = divmod(len(self.split), self.steps)
        return step * smaller + min(step, larger)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `first_step` on."""
        steps = np.array_split(self.order(epoch), self.steps)[first_step:]
        mine = [np.array_split(np.arange(len(members)), self.ranks)[self.rank] for members in steps]
        faces = self.split.faces.batches([members[some] for members, some in zip(steps, mine, strict=True)], self.device)
        batches = _ahead(
            (self._batch(step, epoch, *batch) for step, batch in enumerate(zip(steps, mine, faces, strict=True), first_step)),
            self.split,
            self.device,
        )
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            self.data_wait += time.perf_counter() - begun
            if batch is None:
                return
            yield batch

    def _batch(self, step: int, epoch: int, members: Indices, mine: Indices, faces: Tensor) -> Batch:
        """Step `step` of all processes has the faces `members`, this one's places among them are `mine`."""
        draws = augment.draw(len(members), self.seed, epoch, step)[mine]
        labels = torch.from_numpy(self.split.image_list.labels[members[mine]].astype(np.int64))
        if self.device.type == "cuda":
            labels, draws = labels.pin_memory(), draws.pin_memory()
        return Batch(step, faces, self.device.send(labels), self.device.send(draws), len(members))


def eval_batches(split: LoadedSplit, batch_size: int, device: Device, rank: int = 0, ranks: int = 1) -> Iterator[Tensor]:
    """All faces of a part in their order, as float32 (B, 3, S, S) in [0, 1] on the device.

    Of `ranks` processes, each takes a run of whole batches, so that together they compute what one alone would.
    """
    starts = np.array_split(np.arange(0, len(split), batch_size), ranks)[rank].tolist()
    plan = [np.arange(start, min(start + batch_size, len(split))) for start in starts]
    for faces in _ahead(split.faces.batches(plan, device), split, device):
        yield device.images(faces)


def steps_of(faces: int, batch_size: int) -> int:
    """How many steps an epoch has that goes through so many faces: `faces / batch_size`, rounded, and at least one.

    An epoch of n steps has up to `1 + 1 / 2n` times `batch_size` faces in one: half as many again only in an epoch of one.
    """
    return max(1, round(faces / batch_size))


def _ahead(batches: Iterable[T], split: LoadedSplit, device: Device) -> Iterator[T]:
    """The batches, made in a thread before they are asked for.

    But not those that a processor copies from its own memory: that takes less time than a thread takes from the network's.
    """
    copied = isinstance(split.faces, ArrayStore) and split.faces.in_memory and device.type == "cpu"
    return iter(batches) if copied else prefetch(batches)


def class_weights(labels: NDArray[np.int32], classes: int) -> Tensor:
    """What the loss of a face of each class is multiplied by, float32 (C,): N / (C * its number), 1 in the mean over faces."""
    counts = np.bincount(labels, minlength=classes)
    assert counts.all(), "every class has a face to train on"
    return torch.from_numpy((len(labels) / (classes * counts)).astype(np.float32))


def loss_weights(balance: Balance, labels: NDArray[np.int32], classes: int) -> Tensor | None:
    """The weights that the loss is to have, if any."""
    return class_weights(labels, classes) if balance == "loss" else None


def balanced_order(labels: NDArray[np.int32], numbers: Sequence[int | str]) -> Indices:
    """N numbers of faces in random order, from each class as many as from another, give or take one.

    A face is drawn with a probability inverse to the size of its class. A small class's faces come several times, each as
    often as another, give or take once; of a large class not all come. Which, follows from `numbers`.
    """
    random = np.random.default_rng(seeding.seed_of("balance", *numbers))
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    members = [some for some in members if len(some)]
    each, more = divmod(len(labels), len(members))
    asked = np.full(len(members), each)
    asked[random.permutation(len(members))[:more]] += 1
    drawn = []
    for some, count in zip(members, asked.tolist(), strict=True):
        rounds, rest = divmod(count, len(some))
        drawn += [np.tile(some, rounds), random.permutation(some)[:rest]]
    return random.permutation(np.concatenate(drawn))
