"""Faces of nobody, composed of three classes' pictures: what a threshold can be set by where there are no strangers.

A stranger has the brow of one person that the network knows and the mouth of another. Pictures of a class that is held
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
from facecls.data.load import Part
from facecls.data.stores.memory import Faces, Store
from facecls.device import Compute
from facecls.evaluation.infer import infer
from facecls.models.classifier import FaceClassifier
from facecls.open_set.outputs import Composed

COUNT = 1000  # at the most: fewer where a part's few pictures make no more different ones
_BANDS = 3
_SEAM = 1 / 16  # of the height, over which one picture goes over into the next: a hard edge would be a feature of its own


class Composites:
    """A store of faces whose upper, middle and lower third come from three faces of another store."""

    def __init__(self, faces: Store, sources: NDArray[np.int64]) -> None:
        self._faces = faces
        self.sources = sources  # (N, 3), numbers of faces

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, indices: Indices) -> Faces:
        bands = [self._faces[numbers].astype(np.float32) for numbers in self.sources[indices].T]
        shares = _shares(bands[0].shape[1])
        composed = sum(share[:, None, None] * band for share, band in zip(shares, bands, strict=True))
        return np.asarray(np.rint(composed), np.uint8)

    def take(self, indices: Indices) -> "Composites":
        return Composites(self._faces, self.sources[indices])

    def batches(self, plan: Sequence[Indices], compute: Compute) -> Iterator[Tensor]:
        for indices in plan:
            yield compute.send(torch.from_numpy(self[indices]))


def composites(part: Part, seed: int, count: int = COUNT) -> Composites | None:
    """Composites of a part's faces, each of three classes; None where it has fewer classes.

    `count` are drawn by the seed; those that come again are left out.
    """
    labels = part.listing.labels
    order = np.argsort(labels, kind="stable")
    starts, sizes = np.unique(labels[order], return_index=True, return_counts=True)[1:]
    if len(sizes) < _BANDS:
        return None
    draws = np.random.default_rng(seeding.seed_of("composites", seed))
    classes = np.stack([draws.choice(len(sizes), _BANDS, replace=False) for _ in range(count)])
    sources = order[starts[classes] + draws.integers(sizes[classes])]
    return Composites(part.faces, np.unique(sources, axis=0))


def infer_composites(model: FaceClassifier, part: Part, faces: Composites, compute: Compute, **options: Any) -> Composed:
    """Runs composites of a part's faces through a model; options are those of `infer`."""
    # Listed by their upper third, for want of a picture of their own.
    nobody = Part("composites", part.listing.take(faces.sources[:, 0]), faces)
    return Composed(infer(model, nobody, compute, **options), faces.sources)


def _shares(side: int) -> NDArray[np.float32]:
    """What each of the bands has of every row, (3, S): together 1."""
    heights = (np.arange(side) + 0.5) / side
    below = [np.clip((heights - seam / _BANDS) / _SEAM + 0.5, 0, 1) for seam in range(1, _BANDS)]
    edges = [np.ones(side), *below, np.zeros(side)]
    return np.asarray(-np.diff(edges, axis=0), np.float32)
