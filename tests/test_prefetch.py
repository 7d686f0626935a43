"""Prefetching: order, how far ahead, errors, and no thread left behind."""

import threading
import time
from collections.abc import Iterator

import pytest

from facecls.prefetch import prefetch


def prefetch_threads() -> int:
    return sum(thread.name.startswith("facecls-prefetch") for thread in threading.enumerate())


def test_items_come_unchanged_and_in_order() -> None:
    assert list(prefetch(range(100))) == list(range(100))
    assert list(prefetch([])) == []
    assert prefetch_threads() == 0


def test_items_are_computed_at_most_a_few_ahead() -> None:
    computed = []

    def items() -> Iterator[int]:
        for number in range(100):
            computed.append(number)
            yield number

    ahead = prefetch(items(), ahead=2)
    assert next(ahead) == 0
    for _ in range(100):
        if len(computed) == 4:
            break
        time.sleep(0.01)
    assert computed == [0, 1, 2, 3]  # one consumed, two in the queue, one waiting for a free slot


def test_an_error_in_the_thread_is_raised_in_the_consumer() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    ahead = prefetch(items())
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="broken"):
        next(ahead)
    assert prefetch_threads() == 0


def test_stopping_early_leaves_no_thread_behind() -> None:
    for number in prefetch(iter(int, 1)):
        assert number == 0
        break
    assert prefetch_threads() == 0
