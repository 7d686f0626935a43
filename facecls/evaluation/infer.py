"""Inference of a classifier over batches of images, shared by `eval` and `predict`.

Their scores of an image are equal bit for bit if batches, threads, processor and precision are the same. Otherwise kernels
differ, and scores with them by float rounding: in fp32 by a relative error of about 1e-5.
"""

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
from facecls.progress import Reporter

_CPU_BATCH = 64  # images
_GPU_BATCH = 512  # images of 112 pixels; the outputs of each batch are copied to the host, which waits for them


def batch_size(device: Device, image_size: int) -> int:
    """Images per batch of inference; on other devices than CPUs fewer the larger they are, for the memory of activations."""
    if device.type == "cpu":
        return _CPU_BATCH
    return min(_GPU_BATCH, max(1, _GPU_BATCH * 112**2 // image_size**2))


def flip_allowed(wanted: bool, data: DataConfig, progress: Reporter) -> bool:
    """Whether test-time flipping is used: `wanted`, unless a flip changes the class, which is reported."""
    if wanted and data.flip_changes_class:
        progress.note("test-time flipping is disabled: a flip changes the class (`data.flip_changes_class`)")
    return wanted and not data.flip_changes_class


def forward_batches(
    model: FaceClassifier,
    batches: Iterable[Tensor],
    device: Device,
    *,
    mirrored: bool = False,
    with_logits: bool = True,
    with_features: bool = True,
) -> Outputs:
    """Runs batches of images (B, 3, S, S) in [0, 1] through the model; sets it to eval mode.

    With `mirrored`, logits and features are the mean over the image and its mirror image. `with_logits` and
    `with_features` false leave them out, which saves memory with many classes or a wide backbone output.
    """
    model.eval()
    logits, features = [], []
    with torch.inference_mode(), device.autocast():
        for images in batches:
            views = [images, images.flip(3)] if mirrored else [images]
            embedded = [model.embed(view) for view in views]
            nothing = np.zeros((len(images), 0), np.float32)
            features.append(_mean(embedded) if with_features else nothing)
            logits.append(_mean([model.classify(each) for each in embedded]) if with_logits else nothing)
    if not logits:
        return Outputs(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))
    return Outputs(np.concatenate(logits), np.concatenate(features))


def _mean(views: list[Tensor]) -> NDArray[np.float32]:
    """The mean of (B, ...) tensors in float32, on the CPU: the outputs of a large data set may not fit into GPU memory."""
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
    with_logits: bool = True,
    with_features: bool = True,
    size: int | None = None,
) -> Outputs:
    """Runs the images of a split through the model; with several processes, those of process `rank` of `ranks`.

    Images larger than `size` pixels are resized to it; the other options are those of `forward_batches`.
    """
    batch = min(batch_size(device, split.faces.image_size), max(_CPU_BATCH, -(-len(split) // ranks)))  # work for every rank
    batches = (_shrunk(images, size) for images in eval_batches(split, batch, device, rank, ranks))
    return forward_batches(
        for_inference(model, device), batches, device, mirrored=mirrored, with_logits=with_logits, with_features=with_features
    )


def _shrunk(images: Tensor, size: int | None) -> Tensor:
    if size is None or size >= images.shape[-1]:
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
