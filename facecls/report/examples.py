"""Example images of a report: confident mistakes, unconfident correct predictions, and the most confused pairs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facecls.evaluation.evaluate import Evaluation
from facecls.evaluation.gradcam import overlay

Heatmaps = Callable[[NDArray[np.int64]], NDArray[np.float32]]  # image indices (B,) to Grad-CAM maps (B, S, S) in [0, 1]

EXAMPLES = 12  # of mistakes, and of correct predictions
PAIRS = 6


@dataclass(frozen=True)
class Example:
    """An image with its true and its predicted class."""

    face: NDArray[np.uint8]  # (S, S, 3)
    overlay: NDArray[np.uint8] | None  # (S, S, 3), the face with its heat map; None if there is none
    path: str
    true: str
    predicted: str
    probability: float  # calibrated, of the predicted class
    accepted: bool  # not rejected as unknown


@dataclass(frozen=True)
class ExamplePair:
    """The most confident mistake of a confused pair, and the most confident correct image of both classes, if any."""

    mistake: Example
    typical_true: Example | None
    typical_predicted: Example | None
    count: int  # mistakes
    support: int  # images of the true class


@dataclass(frozen=True)
class Examples:
    """The example images of a report."""

    mistakes: tuple[Example, ...]  # most confident first
    correct: tuple[Example, ...]  # least confident first
    pairs: tuple[ExamplePair, ...]
    no_heatmaps: str = ""  # why there are no heat maps; empty if there are


class ExampleImages:
    """Makes examples of an evaluation's images, by index."""

    def __init__(self, evaluation: Evaluation, probabilities: NDArray[np.float64], heatmaps: Heatmaps | None) -> None:
        self.evaluation = evaluation
        self.classes = evaluation.closed_set.metrics.classes
        self.heatmaps = heatmaps
        self.labels = evaluation.split.image_list.labels
        self.predicted = evaluation.outputs.logits.argmax(axis=1)
        self.confidence = probabilities[np.arange(len(self.predicted)), self.predicted]
        self.accepted = evaluation.open_set.accepted

    def examples(self, indices: Sequence[int]) -> tuple[Example, ...]:
        """The images with these indices."""
        if not indices:
            return ()
        chosen, split = np.array(indices, np.int64), self.evaluation.split
        faces = split.faces[chosen]
        overlays = [None] * len(indices) if self.heatmaps is None else overlay(faces, self.heatmaps(chosen))
        return tuple(
            Example(
                face=face,
                overlay=overlaid,
                path=split.image_list.paths[index],
                true=self.classes[self.labels[index]],
                predicted=self.classes[self.predicted[index]],
                probability=float(self.confidence[index]),
                accepted=bool(self.accepted[index]),
            )
            for index, face, overlaid in zip(indices, faces, overlays, strict=True)
        )

    def most_confident(self, true: int, predicted: int) -> Example | None:
        """The most confident image of class `true` with the prediction `predicted`; None if there is none."""
        indices = np.flatnonzero((self.labels == true) & (self.predicted == predicted))
        return self.examples([int(indices[self.confidence[indices].argmax()])])[0] if len(indices) else None


def select_examples(images: ExampleImages, no_heatmaps: str = "") -> Examples:
    """Selects the examples of a report."""
    correct = images.predicted == images.labels
    mistakes = sorted(np.flatnonzero(~correct).tolist(), key=lambda index: -images.confidence[index])
    unconfident = sorted(np.flatnonzero(correct).tolist(), key=lambda index: images.confidence[index])
    return Examples(
        mistakes=images.examples(mistakes[:EXAMPLES]),
        correct=images.examples(unconfident[:EXAMPLES]),
        pairs=tuple(_pairs(images)),
        no_heatmaps=no_heatmaps,
    )


def _pairs(images: ExampleImages) -> list[ExamplePair]:
    pairs = []
    for pair in images.evaluation.closed_set.pairs[:PAIRS]:
        true, predicted = images.classes.index(pair.true), images.classes.index(pair.predicted)
        mistake = images.most_confident(true, predicted)
        assert mistake is not None
        typical = images.most_confident(true, true), images.most_confident(predicted, predicted)
        pairs.append(ExamplePair(mistake, *typical, pair.count, round(pair.count / pair.share)))
    return pairs
