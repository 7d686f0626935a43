"""Whether a classifier is better than always predicting the largest class."""

from dataclasses import dataclass

import numpy as np

from facecls.open_set.temperature import Floats, Ints

_LEVEL = 0.05  # of significance


@dataclass(frozen=True)
class ChanceTest:
    """Accuracy on held-out images against that of always predicting their largest class."""

    accuracy: float
    majority_share: float  # images of the largest class
    p_value: float  # one-sided exact binomial test

    @property
    def passed(self) -> bool:
        """Whether the accuracy is significantly higher, at 5 %."""
        return self.p_value <= _LEVEL


def chance_test(logits: Floats, labels: Ints) -> ChanceTest:
    """One-sided exact binomial test of the correctly classified among N images against the share of the largest class.

    `logits` are (N, C), `labels` (N,), N at least 1. The test assumes independent images (Conover 1999, section 3.1).
    """
    from scipy.stats import binomtest

    n, correct, most = len(labels), int((logits.argmax(axis=1) == labels).sum()), int(np.bincount(labels).max())
    return ChanceTest(correct / n, most / n, float(binomtest(correct, n, most / n, alternative="greater").pvalue))
