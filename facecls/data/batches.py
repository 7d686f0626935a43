"""Which faces form step k of epoch e; fetched ahead of time."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecls import chance
from facecls.compute import Compute
from facecls.data import augment
from facecls.data.parts import Part
from facecls.prefetch import prefetched


@dataclass(frozen=True)
class Batch:
    """The faces of one step, not yet augmented, on the training device."""

    step: int
    faces: Tensor  # uint8 (B, S, S, 3)
    labels: Tensor  # int64 (B,)
    draws: Tensor  # uniform (B, 14), what augmentation is drawn from
    team_faces: int  # of the step's faces in all processes

    def pieces(self, count: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The batch in up to `count` pieces of about equal size, each (faces, labels, draws)."""
        count = min(count, len(self.labels))
        return zip(*(tensor.tensor_split(count) for tensor in (self.faces, self.labels, self.draws)), strict=True)


class TrainBatches:
    """The batches of a part, epoch by epoch; `waited` counts the seconds in which a step had to wait for its faces.

    An epoch goes through every face once. Its order is a function of (seed, epoch), its steps' sizes differ by at most
    one, so that no last batch of one face upsets batch norm, and step k can be had without the steps before it. Process
    `rank` of `ranks` gets its share of every step, the same faces and draws that one process alone would have there.
    """

    def __init__(self, part: Part, batch_size: int, seed: int, compute: Compute, rank: int = 0, ranks: int = 1) -> None:
        self.part = part
        self.seed = seed
        self.compute = compute
        self.rank = rank
        self.ranks = ranks
        self.steps = max(1, round(len(part) / batch_size))
        self.waited = 0.0

    def order(self, epoch: int) -> NDArray[np.int64]:
        """The numbers of all faces, in the order in which an epoch goes through them."""
        return torch.randperm(len(self.part), generator=chance.generator("order", self.seed, epoch)).numpy()

    def faces_until(self, step: int) -> int:
        """How many faces the first `step` steps of an epoch hold."""
        smaller, larger = divmod(len(self.part), self.steps)
        return step * smaller + min(step, larger)

    def epoch(self, epoch: int, first_step: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `first_step` on."""
        members = np.array_split(self.order(epoch), self.steps)
        batches = prefetched(self._fetch(step, members[step], epoch) for step in range(first_step, self.steps))
        while True:
            begun = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - begun
            if batch is None:
                return
            yield batch

    def _fetch(self, step: int, members: NDArray[np.int64], epoch: int) -> Batch:
        team_faces = len(members)
        mine = np.array_split(np.arange(team_faces), self.ranks)[self.rank]
        draws = augment.draw(team_faces, self.seed, epoch, step)[mine]
        members = members[mine]
        labels = torch.from_numpy(self.part.listing.labels[members].astype(np.int64))
        faces = torch.from_numpy(self.part.faces[members])
        if self.compute.device.type == "cuda":
            faces, labels, draws = faces.pin_memory(), labels.pin_memory(), draws.pin_memory()
        return Batch(step, self.compute.send(faces), self.compute.send(labels), self.compute.send(draws), team_faces)


def eval_batches(part: Part, batch_size: int, compute: Compute, rank: int = 0, ranks: int = 1) -> Iterator[Tensor]:
    """All faces of a part in their order, as float32 (B, 3, S, S) in [0, 1] on the device.

    Of `ranks` processes, each takes a run of whole batches, so that together they compute what one alone would.
    """
    numbers = np.arange(len(part))
    starts = np.array_split(np.arange(0, len(part), batch_size), ranks)[rank].tolist()
    for faces in prefetched(torch.from_numpy(part.faces[numbers[start : start + batch_size]]) for start in starts):
        yield compute.images(faces)
