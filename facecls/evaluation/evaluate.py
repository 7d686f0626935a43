"""A model and a part of the data to logits, features and scores."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from facecls.compute import Compute
from facecls.data.batches import eval_batches
from facecls.data.parts import Part
from facecls.evaluation.metrics import Scores, score
from facecls.models.classifier import FaceClassifier

BATCH = 64  # faces at once; predict takes as many, so that both compute the same bits


@dataclass(frozen=True)
class Outputs:
    """What a model says of N faces, in their order."""

    logits: NDArray[np.float32]  # (N, C)
    features: NDArray[np.float32]  # (N, F)


def infer(model: FaceClassifier, part: Part, compute: Compute, rank: int = 0, ranks: int = 1) -> Outputs:
    """Runs all faces of a part through the model, or the share of them that process `rank` of `ranks` takes on."""
    model.eval()
    logits, features = [], []
    with torch.inference_mode(), compute.autocast():
        for images in eval_batches(part, BATCH, compute, rank, ranks):
            embedded = model.embed(images)
            logits.append(model.score(embedded).float())
            features.append(embedded.float())
    if not logits:  # fewer batches than processes
        return Outputs(np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32))
    return Outputs(torch.cat(logits).cpu().numpy(), torch.cat(features).cpu().numpy())


def evaluate(model: FaceClassifier, part: Part, classes: tuple[str, ...], compute: Compute) -> Scores:
    """Scores a model on a part."""
    return score(infer(model, part, compute).logits, part.listing.labels, classes)
