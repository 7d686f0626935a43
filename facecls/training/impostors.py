"""Faces of nobody, composed of three classes' images: what a threshold can be set by where there are no strangers.

A stranger has the brow of one person that the network knows and the mouth of another. Images of a class that is held
out would not do: the network has learned to tell that class from the others, and keeps real strangers less far off.
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

COUNT = 1000  # at the most: fewer where a part's few images make no more different ones
_BANDS = 3
_SEAM = 1 / 16  # of the height, over which one image goes over into the next: a hard edge would be a feature of its own


class SyntheticImpostors:
    """A store of faces whose upper, middle and lower third come from three faces of another store."""

    def __init__(self, faces: Store, sources: NDArray[np.int64]) -> None:
        self._faces = faces
        self.sources = sources  # (N, 3), numbers of faces

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, indices: Indices) -> FaceArray:
        bands = [self._faces[numbers].astype(np.float32) for numbers in self.sources[indices].T]
        shares = _shares(bands[0].shape[1])
        composed = sum(share[:, None, None] * band for share, band in zip(shares, bands, strict=True))
        return np.asarray(np.rint(composed), np.uint8)

    def take(self, indices: Indices) -> "SyntheticImpostors":
        return SyntheticImpostors(self._faces, self.sources[indices])

    def batches(self, plan: Sequence[Indices], device: Device) -> Iterator[Tensor]:
        for indices in plan:
            yield device.send(torch.from_numpy(self[indices]))


def synthetic_impostors(split: LoadedSplit, seed: int, count: int = COUNT) -> SyntheticImpostors | None:
    """Composites of a part's faces, each of three classes; None where it has fewer classes.

    `count` are drawn by the seed; those that come again are left out.
    """
    labels = split.image_list.labels
    order = np.argsort(labels, kind="stable")
    starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)[1:]
    if len(sizes) < _BANDS:
        return None
    draws = np.random.default_rng(seeding.seed_of("composites", seed))
    classes = np.stack([draws.choice(len(sizes), _BANDS, replace=False) for _ in range(count)])
    sources = order[starts[classes] + draws.integers(sizes[classes])]
    return SyntheticImpostors(split.faces, np.unique(sources, axis=0))


def infer_impostors(
    model: FaceClassifier, split: LoadedSplit, faces: SyntheticImpostors, device: Device, **options: Any
) -> ImpostorOutputs:
    """Runs composites of a part's faces through a model; options are those of `infer`."""
    # Listed by their upper third, for want of an image of their own.
    nobody = LoadedSplit("composites", split.image_list.take(faces.sources[:, 0]), faces)
    return ImpostorOutputs(infer(model, nobody, device, **options), faces.sources)


def _shares(side: int) -> NDArray[np.float32]:
    """What each of the bands has of every row, (3, S): together 1."""
    heights = (np.arange(side) + 0.5) / side
    below = [np.clip((heights - seam / _BANDS) / _SEAM + 0.5, 0, 1) for seam in range(1, _BANDS)]
    edges = [np.ones(side), *below, np.zeros(side)]
    return np.asarray(-np.diff(edges, axis=0), np.float32)
