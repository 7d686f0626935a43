"""Training and evaluation batches: order, class balance, and prefetching."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from facecls import seeding
from facecls.config.data import Balance
from facecls.data import augment
from facecls.data.listing import Indices, Labels
from facecls.data.load import LoadedSplit
from facecls.data.stores.memory import ArrayStore
from facecls.device import Device
from facecls.errors import DataError
from facecls.prefetch import prefetch
from facecls.text import name_list

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """The images of one optimizer step in this process, not yet augmented, on the training device."""

    step: int
    faces: Tensor  # uint8 (B, S, S, 3)
    labels: Tensor  # int64 (B,)
    draws: Tensor  # float32 (B, K) in [0, 1): the random numbers of `augment.draw`
    global_size: int  # images of the step in all processes

    def micro_batches(self, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Up to `count` micro-batches (faces, labels, draws) for gradient accumulation; their sizes differ by at most one."""
        count = min(count, len(self.labels))
        return zip(*(tensor.tensor_split(count) for tensor in (self.faces, self.labels, self.draws)), strict=True)


@dataclass(eq=False)
class TrainLoader:
    """The training batches of a split; `data_wait` sums the seconds that steps were blocked on them.

    An epoch has every image once; with `balance: sampler` it has as many images, equally many of each class. Its order is a
    function of (seed, epoch). Step sizes differ by at most one, so that no last batch is too small for batch norm.
    An epoch can start at any step. Process `rank` of `ranks` gets its share of each step, with the same images and random
    numbers as in a single process.
    """

    split: LoadedSplit
    batch_size: int
    seed: int
    device: Device
    rank: int = 0
    ranks: int = 1
    balance: Balance | Mapping[str, float] = "none"
    data_wait: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.steps = steps_per_epoch(len(self.split), self.batch_size)

    def order(self, epoch: int) -> Indices:
        """The indices of the images of an epoch in order, (N,)."""
        if self.balance == "sampler":
            return balanced_order(self.split.image_list.labels, (self.seed, epoch))
        return torch.randperm(len(self.split), generator=seeding.generator("order", self.seed, epoch)).numpy()

    def images_seen(self, step: int) -> int:
        """The number of images in the first `step` steps of an epoch."""
        smaller, larger = divmod(len(self.split), self.steps)
        return step * smaller + min(step, larger)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch, from step `first_step` on."""
        steps = np.array_split(self.order(epoch), self.steps)[first_step:]
        shares = [np.array_split(np.arange(len(members)), self.ranks)[self.rank] for members in steps]
        plan = [members[share] for members, share in zip(steps, shares, strict=True)]
        rows = zip(steps, shares, self.split.faces.batches(plan, self.device), strict=True)
        batches = _prefetched(
            (self._batch(step, epoch, *row) for step, row in enumerate(rows, first_step)), self.split, self.device
        )
        while True:
            start = time.perf_counter()
            batch = next(batches, None)
            self.data_wait += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    def _batch(self, step: int, epoch: int, members: Indices, share: Indices, faces: Tensor) -> Batch:
        """`members` are the images of a step in all processes, `share` the positions of this process's `faces` among them."""
        draws = augment.draw(len(members), self.seed, epoch, step)[share]
        labels = torch.from_numpy(self.split.image_list.labels[members[share]].astype(np.int64))
        if self.device.type == "cuda":
            labels, draws = labels.pin_memory(), draws.pin_memory()
        return Batch(step, faces, self.device.send(labels), self.device.send(draws), len(members))


def steps_per_epoch(images: int, batch_size: int) -> int:
    """`images / batch_size`, rounded, and at least 1.

    With n steps, a step has at most `1 + 1 / 2n` times `batch_size` images.
    """
    return max(1, round(images / batch_size))


def balanced_order(labels: Labels, seed_key: Sequence[int | str]) -> Indices:
    """N indices in random order, seeded by `seed_key`, with equally many images of each class (counts differ by at most one).

    Images of small classes are repeated, each as often as the others or once more; of large classes a random subset is taken.
    """
    random = np.random.default_rng(seeding.seed_of("balance", *seed_key))
    by_class = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    by_class = [members for members in by_class if len(members)]
    quotient, remainder = divmod(len(labels), len(by_class))
    counts = np.full(len(by_class), quotient)
    counts[random.permutation(len(by_class))[:remainder]] += 1
    chosen = []
    for members, count in zip(by_class, counts.tolist(), strict=True):
        repeats, rest = divmod(count, len(members))
        chosen += [np.tile(members, repeats), random.permutation(members)[:rest]]
    return random.permutation(np.concatenate(chosen))


def loss_weights(balance: Balance | Mapping[str, float], labels: Labels, classes: Sequence[str]) -> Tensor | None:
    """The class weights of the loss, float32 (C,), whose mean over all images is 1; None with `none` and `sampler`.

    With `loss` a class of n images has weight N / (C n), as scikit-learn's `balanced`. With weights by class the others have
    the weight 1, before all are divided by the mean.
    """
    if isinstance(balance, Mapping):
        weights = torch.tensor([balance.get(name, 1.0) for name in classes])
        return weights / weights[torch.from_numpy(labels).long()].mean()
    if balance != "loss":
        return None
    counts = np.bincount(labels, minlength=len(classes))
    assert counts.all(), "every class has a training image"
    return torch.from_numpy((len(labels) / (len(classes) * counts)).astype(np.float32))


def check_weights(balance: Balance | Mapping[str, float], classes: Sequence[str]) -> None:
    """Raises DataError if weights by class name what is no class."""
    unknown = [name for name in balance if name not in classes] if isinstance(balance, Mapping) else []
    if unknown:
        raise DataError(
            *(f"data.balance: `{name}` is not a class" for name in unknown), hint=f"the classes are {name_list(classes)}"
        )


def eval_batches(split: LoadedSplit, batch_size: int, device: Device, rank: int = 0, ranks: int = 1) -> Iterator[Tensor]:
    """All images of a split in order, as float32 (B, 3, S, S) in [0, 1] on the device.

    Each of `ranks` processes gets consecutive whole batches: the batches are those of a single process.
    """
    starts = np.array_split(np.arange(0, len(split), batch_size), ranks)[rank].tolist()
    plan = [np.arange(start, min(start + batch_size, len(split))) for start in starts]
    for faces in _prefetched(split.faces.batches(plan, device), split, device):
        yield device.images(faces)


def _prefetched(batches: Iterable[T], split: LoadedSplit, device: Device) -> Iterator[T]:
    """The batches, prefetched in a thread unless they are only copied from memory to a CPU, which takes less time."""
    copied = isinstance(split.faces, ArrayStore) and split.faces.in_memory and device.type == "cpu"
    return iter(batches) if copied else prefetch(batches)
