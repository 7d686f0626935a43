"""The binomial test against always predicting the largest class."""

from math import comb

import numpy as np
import pytest

from facecls.open_set.chance import chance_test


def test_the_p_value_is_the_share_of_luckier_guesses() -> None:
    labels = np.array([0] * 6 + [1] * 4 + [2] * 2)
    predicted = np.array([0] * 6 + [1] * 3 + [0] + [0] * 2)
    test = chance_test(np.eye(3)[predicted], labels)
    assert (test.accuracy, test.majority_share) == (9 / 12, 6 / 12)
    assert test.p_value == pytest.approx(sum(comb(12, k) for k in range(9, 13)) / 2**12)
    assert not test.passed  # p = 0.073


def test_the_majority_class_alone_is_chance_however_large_it_is() -> None:
    labels = np.array([0] * 95 + [1] * 5)
    assert not chance_test(np.eye(2)[np.zeros(100, int)], labels).passed
    assert chance_test(np.eye(2)[labels], labels).passed
    assert not chance_test(np.eye(2)[np.zeros(9, int)], np.zeros(9, int)).passed  # a single class


@pytest.mark.parametrize(("correct", "passed"), [(6, False), (7, True)])
def test_the_level_is_five_percent(correct: int, passed: bool) -> None:
    labels = np.arange(12) % 4
    predicted = np.where(np.arange(12) < correct, labels, (labels + 1) % 4)
    assert chance_test(np.eye(4)[predicted], labels).passed == passed  # p = 0.054 and 0.014
