"""One pass of a classifier: what it says of some faces; predict and eval share it, so that both say the same."""

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from facecls.config.schema import DataConfig
from facecls.data.load import LoadedSplit
from facecls.data.sampler import eval_batches
from facecls.device import Device
from facecls.models.classifier import FaceClassifier
from facecls.models.mkldnn import for_inference
from facecls.open_set.outputs import Outputs
from facecls.progress import Progress

BATCH = 64  # faces at once


def flip_allowed(wanted: bool, data: DataConfig, progress: Progress) -> bool:
    """Whether images are to be mirrored as well: never where that would change their classes, which is said."""
    if wanted and data.flip_changes_class:
        progress.note("mirroring would change the classes (data.flip_changes_class), so it is left off")
    return wanted and not data.flip_changes_class


def forward_batches(
    model: FaceClassifier,
    batches: Iterable[Tensor],
    device: Device,
    *,
    mirrored: bool = False,
    evaluation: bool = True,
    featured: bool = True,
) -> Outputs:
    """Runs batches of images (B, 3, S, S) in [0, 1] through the model; sets it to eval mode.

    With `mirrored`, logits and features are the mean of the image's and its mirror image's. `scored` false leaves the
    logits out, which of many classes take the most memory; `featured` false leaves the features out, which take the most
    where they are many, as the pixels that `linear` scores.
    """
    model.eval()
    logits, features = [], []
    with torch.inference_mode(), device.autocast():
        for images in batches:
            views = [images, images.flip(3)] if mirrored else [images]
            embedded = [model.embed(view) for view in views]
            nothing = np.zeros((len(images), 0), np.float32)
            features.append(_mean(embedded) if featured else nothing)
            logits.append(_mean([model.classify(each) for each in embedded]) if evaluation else nothing)
    if not logits:
        return Outputs(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))
    return Outputs(np.concatenate(logits), np.concatenate(features))


def _mean(views: list[Tensor]) -> NDArray[np.float32]:
    """The mean of (B, ...) tensors in float32, on the host at once: a device would have to hold all of a large set."""
    first, *others = (view.float() for view in views)
    mean: NDArray[np.float32] = (sum(others, first) / len(views)).cpu().numpy()
    return mean


def infer(
    model: FaceClassifier,
    split: LoadedSplit,
    device: Device,
    rank: int = 0,
    ranks: int = 1,
    *,
    mirrored: bool = False,
    evaluation: bool = True,
    featured: bool = True,
    size: int | None = None,
) -> Outputs:
    """Runs all faces of a part through the model, or the share of them that process `rank` of `ranks` takes on.

    `mirrored`, `scored` and `featured` are as `outputs_of` takes them; `size` pixels are what a side is shrunk to, if it is
    larger.
    """
    batches = (_shrunk(images, size) for images in eval_batches(split, BATCH, device, rank, ranks))
    return forward_batches(
        for_inference(model, device), batches, device, mirrored=mirrored, evaluation=evaluation, featured=featured
    )


def _shrunk(images: Tensor, size: int | None) -> Tensor:
    if size is None or size >= images.shape[-1]:
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
