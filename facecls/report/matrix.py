"""Confusion matrices as cells to draw: all classes, and the most confused ones of many."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facecls.open_set.temperature import Ints

LABELLED = 25  # classes up to which rows and columns have names and cells have counts
_MOST_CONFUSED = 20  # classes in the second, labelled matrix of larger class lists


@dataclass(frozen=True)
class Cell:
    """A non-empty cell."""

    row: int
    column: int
    count: int
    share: float  # of the images of the true class
    tooltip: str


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix of C classes; rows are true classes, columns predicted ones."""

    classes: tuple[str, ...]
    cells: tuple[Cell, ...]
    labelled: bool


def confusion_matrix(confusion: Ints, classes: Sequence[str]) -> Matrix:
    """The matrix of all classes from counts (C, C)."""
    support = np.maximum(confusion.sum(axis=1), 1).tolist()
    cells = []
    for i, j in np.argwhere(confusion).tolist():
        count = int(confusion[i, j])
        of_all = f"{count} of {support[i]}"
        tooltip = f"{classes[i]}: {of_all} correct" if i == j else f"{classes[i]} as {classes[j]}: {of_all}"
        cells.append(Cell(i, j, count, count / support[i], tooltip))
    return Matrix(tuple(classes), tuple(cells), len(classes) <= LABELLED)


def most_confused(confusion: Ints, classes: Sequence[str]) -> Matrix | None:
    """The classes with the most mistakes to or from them; None if the full matrix is labelled or there are no mistakes."""
    mistakes = confusion - np.diag(np.diag(confusion))
    per_class = mistakes.sum(axis=0) + mistakes.sum(axis=1)
    if len(classes) <= LABELLED or not per_class.any():
        return None
    order = np.argsort(-per_class, kind="stable")[:_MOST_CONFUSED]
    chosen = np.sort(order[per_class[order] > 0])
    return confusion_matrix(confusion[np.ix_(chosen, chosen)], [classes[n] for n in chosen])
