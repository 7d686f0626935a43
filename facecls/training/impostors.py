"""Synthetic impostors: faces of horizontal bands of three people's faces, to set a rejection threshold without real ones.

Images of a class of the gallery, held out as impostors, would not do: the network was trained to separate that class from
the others, so it rejects them more often than unknown people.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecls import seeding
from facecls.data.listing import Indices
from facecls.data.load import LoadedSplit
from facecls.data.stores.memory import FaceArray, Store
from facecls.device import Device
from facecls.evaluation.infer import infer
from facecls.models.classifier import FaceClassifier
from facecls.open_set.outputs import ImpostorOutputs

COUNT = 1000  # at most; few images make fewer different ones
_BANDS = 3
_SEAM = 1 / 16  # share of the height over which two bands are blended, because a hard edge would itself be a feature


class SyntheticImpostors:
    """A store of faces whose upper, middle and lower third are from three faces of another store."""

    def __init__(self, faces: Store, sources: NDArray[np.int64]) -> None:
        self._faces = faces
        self.sources = sources  # (N, 3), face numbers in that store
        self.image_size = faces.image_size

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, indices: Indices) -> FaceArray:
        bands = [self._faces[numbers].astype(np.float32) for numbers in self.sources[indices].T]
        weights = _row_weights(bands[0].shape[1])
        blended = sum(weight[:, None, None] * band for weight, band in zip(weights, bands, strict=True))
        return np.asarray(np.rint(blended), np.uint8)

    def take(self, indices: Indices) -> "SyntheticImpostors":
        return SyntheticImpostors(self._faces, self.sources[indices])

    def batches(self, plan: Sequence[Indices], device: Device) -> Iterator[Tensor]:
        for indices in plan:
            yield device.send(torch.from_numpy(self[indices]))


def make_impostors(split: LoadedSplit, seed: int, count: int = COUNT) -> SyntheticImpostors | None:
    """Synthetic impostors from a split's faces, each of three classes; None if the split has fewer than three classes.

    `count` are sampled with the seed, then duplicates are dropped.
    """
    labels = split.image_list.labels
    order = np.argsort(labels, kind="stable")
    starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)[1:]
    if len(sizes) < _BANDS:
        return None
    draws = np.random.default_rng(seeding.seed_of("synthetic impostors", seed))
    classes = np.stack([draws.choice(len(sizes), _BANDS, replace=False) for _ in range(count)])
    sources = order[starts[classes] + draws.integers(sizes[classes])]
    return SyntheticImpostors(split.faces, np.unique(sources, axis=0))


def infer_impostors(
    model: FaceClassifier, split: LoadedSplit, faces: SyntheticImpostors, device: Device, **options: Any
) -> ImpostorOutputs:
    """Runs synthetic impostors made from `split` through a model; `options` are those of `infer`."""
    # Listed under the image of the upper third, because they have no file of their own.
    impostors = LoadedSplit("synthetic impostors", split.image_list.take(faces.sources[:, 0]), faces)
    return ImpostorOutputs(infer(model, impostors, device, **options), faces.sources)


def _row_weights(side: int) -> NDArray[np.float32]:
    """The weight of each band in each row of pixels, (3, S); columns sum to 1."""
    heights = (np.arange(side) + 0.5) / side
    below = [np.clip((heights - seam / _BANDS) / _SEAM + 0.5, 0, 1) for seam in range(1, _BANDS)]
    edges = [np.ones(side), *below, np.zeros(side)]
    return np.asarray(-np.diff(edges, axis=0), np.float32)
