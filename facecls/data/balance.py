"""What is done about classes of very different sizes."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecls import chance
from facecls.faces.listing import Indices

Balance = Literal["none", "sampler", "loss"]


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
    random = np.random.default_rng(chance.seed_of("balance", *numbers))
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
