"""A model and a part of the data to logits and features."""

from torch import Tensor
from torch.nn import functional

from facecls.compute import Compute
from facecls.data.batches import eval_batches
from facecls.data.parts import Part
from facecls.evaluation.outputs import BATCH, Outputs, outputs_of
from facecls.models.classifier import FaceClassifier
from facecls.models.onednn import for_inference


def infer(
    model: FaceClassifier,
    part: Part,
    compute: Compute,
    rank: int = 0,
    ranks: int = 1,
    *,
    mirrored: bool = False,
    scored: bool = True,
    featured: bool = True,
    size: int | None = None,
) -> Outputs:
    """Runs all faces of a part through the model, or the share of them that process `rank` of `ranks` takes on.

    `mirrored`, `scored` and `featured` are as `outputs_of` takes them; `size` pixels are what a side is shrunk to, if it is
    larger.
    """
    batches = (_shrunk(images, size) for images in eval_batches(part, BATCH, compute, rank, ranks))
    return outputs_of(for_inference(model, compute), batches, compute, mirrored=mirrored, scored=scored, featured=featured)


def _shrunk(images: Tensor, size: int | None) -> Tensor:
    if size is None or size >= images.shape[-1]:
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", antialias=True)
