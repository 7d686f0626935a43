"""One pass of a classifier: what it says of some faces; predict and eval share it, so that both compute the same bits."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from facecls.compute import Compute
from facecls.config import DataConfig
from facecls.models.classifier import FaceClassifier
from facecls.progress import Progress

BATCH = 64  # faces at once


@dataclass(frozen=True)
class Outputs:
    """What a model says of N faces, in their order."""

    logits: NDArray[np.float32]  # (N, C)
    features: NDArray[np.float32]  # (N, F)

    def take(self, indices: NDArray[np.int64]) -> "Outputs":
        return Outputs(self.logits[indices], self.features[indices])


def mirror_allowed(wanted: bool, data: DataConfig, progress: Progress) -> bool:
    """Whether pictures are to be mirrored as well: never where that would change their classes, which is said."""
    if wanted and data.labels_are_handed:
        progress.note("mirroring would change the classes (data.labels_are_handed), so it is left off")
    return wanted and not data.labels_are_handed


def outputs_of(model: FaceClassifier, batches: Iterable[Tensor], compute: Compute, *, mirrored: bool = False) -> Outputs:
    """Runs batches of images (B, 3, S, S) in [0, 1] through the model; sets it to eval mode.

    With `mirrored`, logits and features are the mean of the picture's and its mirror image's.
    """
    model.eval()
    logits, features = [], []
    with torch.inference_mode(), compute.autocast():
        for images in batches:
            embedded = model.embed(images)
            scores = model.score(embedded).float()
            embedded = embedded.float()
            if mirrored:
                other = model.embed(images.flip(3))
                scores = (scores + model.score(other).float()) / 2
                embedded = (embedded + other.float()) / 2
            logits.append(scores)
            features.append(embedded)
    if not logits:
        return Outputs(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))
    return Outputs(torch.cat(logits).cpu().numpy(), torch.cat(features).cpu().numpy())
