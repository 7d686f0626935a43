"""A model and a part of the data to logits, features and scores."""

from facecls.compute import Compute
from facecls.data.batches import eval_batches
from facecls.data.parts import Part
from facecls.evaluation.metrics import Scores, score
from facecls.evaluation.outputs import BATCH, Outputs, outputs_of
from facecls.models.classifier import FaceClassifier


def infer(
    model: FaceClassifier, part: Part, compute: Compute, rank: int = 0, ranks: int = 1, *, mirrored: bool = False
) -> Outputs:
    """Runs all faces of a part through the model, or the share of them that process `rank` of `ranks` takes on.

    With `mirrored`, each counts together with its mirror image.
    """
    return outputs_of(model, eval_batches(part, BATCH, compute, rank, ranks), compute, mirrored=mirrored)


def evaluate(model: FaceClassifier, part: Part, classes: tuple[str, ...], compute: Compute) -> Scores:
    """Scores a model on a part."""
    return score(infer(model, part, compute).logits, part.listing.labels, classes)
