"""The images worth looking at: sure and wrong, right and unsure, and classes that are taken for one another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facecls.evaluation.evaluate import Evaluation
from facecls.evaluation.gradcam import overlay
from facecls.evaluation.result import ClosedSetResult

Heat = Callable[[NDArray[np.int64]], NDArray[np.float32]]  # numbers of images (B,) to heat maps (B, S, S) in [0, 1]

CASES = 12  # of each kind
PAIRS = 6


@dataclass(frozen=True)
class Example:
    """An image with what it shows and what was said of it."""

    face: NDArray[np.uint8]  # (S, S, 3)
    heat: NDArray[np.uint8] | None  # (S, S, 3), the face under its heat map; None where there is no map
    path: str
    true: str
    named: str
    probability: float  # calibrated, of the named class
    known: bool


@dataclass(frozen=True)
class Pair:
    """A mistake, beside the most typical image of the class that it shows and of the one that it was taken for."""

    mistake: Example
    own: Example | None
    other: Example | None
    count: int
    share: float


@dataclass(frozen=True)
class Gallery:
    """What the page shows; `without_heat` says why there are no heat maps, if there are none."""

    mistakes: tuple[Example, ...]  # the surest first
    hits: tuple[Example, ...]  # the least sure first
    pairs: tuple[Pair, ...]
    without_heat: str = ""


class ExampleImages:
    """The images of an evaluation, from which cases are taken by number."""

    def __init__(self, evaluation: Evaluation, probabilities: NDArray[np.float64], heat: Heat | None) -> None:
        self.evaluation = evaluation
        self.classes = evaluation.closed_set.metrics.classes
        self.probabilities = probabilities
        self.heat = heat
        self.labels = evaluation.split.image_list.labels
        self.named = evaluation.outputs.logits.argmax(axis=1)
        self.sure = probabilities[np.arange(len(self.named)), self.named]
        self._made: dict[int, Example] = {}

    def cases(self, numbers: Sequence[int]) -> list[Example]:
        """The images with these numbers; each is made once."""
        missing = np.array([number for number in dict.fromkeys(numbers) if number not in self._made], np.int64)
        if len(missing):
            faces = self.evaluation.split.faces[missing]
            warm = [None] * len(missing) if self.heat is None else overlay(faces, self.heat(missing))
            for number, face, heat in zip(missing.tolist(), faces, warm, strict=True):
                self._made[number] = self._case(number, face, heat)
        return [self._made[number] for number in numbers]

    def _case(self, number: int, face: NDArray[np.uint8], heat: NDArray[np.uint8] | None) -> Example:
        return Example(
            face=face,
            heat=heat,
            path=self.evaluation.split.image_list.paths[number],
            true=self.classes[self.labels[number]],
            named=self.classes[self.named[number]],
            probability=float(self.sure[number]),
            known=bool(self.evaluation.open_set.accepted[number]),
        )

    def typical(self, label: int) -> list[Example]:
        """The surest of the images of a class that are named right; none where there is none."""
        right = np.flatnonzero((self.labels == label) & (self.named == label))
        return self.cases([int(right[self.sure[right].argmax()])]) if len(right) else []


def gallery(album: ExampleImages, without_heat: str = "") -> Gallery:
    """Chooses the images to show."""
    right = album.named == album.labels
    wrong_by_sureness = sorted(np.flatnonzero(~right).tolist(), key=lambda number: -album.sure[number])
    right_by_doubt = sorted(np.flatnonzero(right).tolist(), key=lambda number: album.sure[number])
    return Gallery(
        mistakes=tuple(album.cases(wrong_by_sureness[:CASES])),
        hits=tuple(album.cases(right_by_doubt[:CASES])),
        pairs=tuple(_pairs(album, album.evaluation.closed_set)),
        without_heat=without_heat,
    )


def _pairs(album: ExampleImages, closed_set: ClosedSetResult) -> list[Pair]:
    pairs = []
    for pair in closed_set.pairs[:PAIRS]:
        own, other = album.classes.index(pair.true), album.classes.index(pair.predicted)
        mistaken = np.flatnonzero((album.labels == own) & (album.named == other))
        (mistake,) = album.cases([int(mistaken[album.sure[mistaken].argmax()])])
        first = next(iter(album.typical(own)), None)
        pairs.append(Pair(mistake, first, next(iter(album.typical(other)), None), pair.count, pair.share))
    return pairs
