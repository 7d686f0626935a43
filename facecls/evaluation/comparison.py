"""Compares classifiers on the images that they have in common: McNemar's exact test for each pair."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from facecls.evaluation.evaluate import Evaluation


@dataclass(frozen=True)
class PairedTest:
    """Two runs on their common images; `first` and `second` are their numbers, from 0."""

    first: int
    second: int
    n: int  # common images with the same class in both
    only_first: NDArray[np.int64]  # images that only the first classifies correctly, as indices into its evaluation
    only_second: NDArray[np.int64]  # those of the second, as indices into its own
    both: int  # images that both classify correctly
    p_value: float  # McNemar's exact test, two-sided
    p_adjusted: float  # by Holm's method for all pairs

    @property
    def difference(self) -> float | None:
        """Accuracy of the second less that of the first on the common images; None without any."""
        return (len(self.only_second) - len(self.only_first)) / self.n if self.n else None

    @property
    def difference_interval(self) -> tuple[float, float] | None:
        """The 95 % interval of the difference (Agresti and Min 2005: half an image added to each cell); None without any."""
        if not self.n:
            return None
        n, one, two = self.n + 2.0, len(self.only_first) + 0.5, len(self.only_second) + 0.5
        difference = (two - one) / n
        half = 1.959964 * float(np.sqrt((one + two) - (two - one) ** 2 / n)) / n
        return max(-1.0, difference - half), min(1.0, difference + half)


@dataclass(frozen=True, repr=False)
class Comparison:
    """Evaluations of several runs, and a test for each pair."""

    names: tuple[str, ...]
    evaluations: tuple[Evaluation, ...]
    tests: tuple[PairedTest, ...]

    def __repr__(self) -> str:
        shares = [
            f"{name} {each.closed_set.metrics.accuracy:.1%}" for name, each in zip(self.names, self.evaluations, strict=True)
        ]
        p_values = [
            f"{self.names[test.first]} and {self.names[test.second]} "
            + (f"p={test.p_adjusted:.3g}" if test.n else "have no common images")
            for test in self.tests
        ]
        return f"<Comparison: accuracy {', '.join(shares)}; {', '.join(p_values)}>"

    def to_plain(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "runs": [{"name": name} | each.to_plain() for name, each in zip(self.names, self.evaluations, strict=True)],
            "paired_tests": [
                {
                    "first": self.names[test.first],
                    "second": self.names[test.second],
                    "n": test.n,
                    "only_first_correct": len(test.only_first),
                    "only_second_correct": len(test.only_second),
                    "both_correct": test.both,
                    "difference": test.difference,
                    "difference_interval": test.difference_interval,
                    "p_value": test.p_value,
                    "p_adjusted": test.p_adjusted,
                }
                for test in self.tests
            ],
        }


def compare_evaluations(names: Sequence[str], evaluations: Sequence[Evaluation]) -> Comparison:
    """Tests every pair on the images, by path, that both evaluated under the same class name."""
    outcomes = [_outcomes(each) for each in evaluations]
    tests = []
    for first, second in combinations(range(len(names)), 2):
        one, two = outcomes[first], outcomes[second]
        common = [key for key in one if key in two]
        right = [(one[key], two[key]) for key in common]
        only_first = [index for (index, correct), (_, other) in right if correct and not other]
        only_second = [index for (_, other), (index, correct) in right if correct and not other]
        both = sum(a and b for (_, a), (_, b) in right)
        differing = len(only_first) + len(only_second)
        p_value = float(binomtest(len(only_first), differing).pvalue) if differing else 1.0
        indices = np.array(only_first, np.int64), np.array(only_second, np.int64)
        tests.append(PairedTest(first, second, len(common), *indices, both, p_value, p_value))
    adjusted = holm([test.p_value for test in tests])
    tests = [replace(test, p_adjusted=p_value) for test, p_value in zip(tests, adjusted, strict=True)]
    return Comparison(tuple(names), tuple(evaluations), tuple(tests))


def _outcomes(evaluation: Evaluation) -> dict[tuple[str, str], tuple[int, bool]]:
    """For each image, by real path and class, its index and whether it is classified correctly."""
    images, classes = evaluation.split.image_list, evaluation.closed_set.metrics.classes
    correct = (evaluation.outputs.logits.argmax(axis=1) == images.labels).tolist()
    return {
        (os.path.realpath(images.paths[index]), classes[images.labels[index]]): (index, each)
        for index, each in enumerate(correct)
    }


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted by Holm's step-down method (1979), in the order given."""
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, number in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[number]))
        adjusted[number] = largest
    return adjusted
