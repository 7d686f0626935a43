"""A confusion matrix to the cells of a drawing: all of a few classes, and of many the image and the part that matters."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecls.open_set.temperature import Ints

NAMED = 25  # up to so many classes every row has its name and every cell its number
_WORST = 20  # of more classes, those that are confused most are shown so


@dataclass(frozen=True)
class Cell:
    """A cell that is not empty."""

    row: int
    column: int
    count: int
    share: float  # of the images of the true class
    words: str

    @property
    def right(self) -> bool:
        return self.row == self.column


@dataclass(frozen=True)
class Matrix:
    """A drawing of C classes; row the true class, column the one that was named."""

    classes: tuple[str, ...]
    cells: tuple[Cell, ...]
    named: bool  # whether there is room for names and numbers

    @property
    def longest(self) -> int:
        """Letters of the longest name, as far as it is shown."""
        return min(18, max(len(name) for name in self.classes))


def whole(confusion: Ints, classes: Sequence[str]) -> Matrix:
    """The matrix with all classes."""
    support = np.maximum(confusion.sum(axis=1), 1)
    cells = (
        Cell(
            int(i),
            int(j),
            int(confusion[i, j]),
            float(confusion[i, j] / support[i]),
            f"{classes[i]}: {confusion[i, j]} of {support[i]} named right"
            if i == j
            else f"{classes[i]} taken for {classes[j]}: {confusion[i, j]} of {support[i]}",
        )
        for i, j in np.argwhere(confusion)
    )
    return Matrix(tuple(classes), tuple(cells), len(classes) <= NAMED)


def worst(confusion: Ints, classes: Sequence[str]) -> Matrix | None:
    """The classes with the most mistakes to or from them, in their order; None where all are shown anyway or none errs."""
    mistakes = confusion - np.diag(np.diag(confusion))
    number = mistakes.sum(axis=0) + mistakes.sum(axis=1)
    if len(classes) <= NAMED or not number.any():
        return None
    order = np.argsort(-number, kind="stable")[:_WORST]
    chosen = np.sort(order[number[order] > 0])
    split = whole(confusion[np.ix_(chosen, chosen)], [classes[n] for n in chosen])
    return split if len(chosen) > 1 else None
