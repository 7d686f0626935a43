"""Things made ahead of time."""

import threading
import time
from collections.abc import Iterator

import pytest

from facecls.prefetch import prefetched


def makers() -> int:
    return sum(thread.name == "facecls-prefetch" for thread in threading.enumerate())


def test_the_same_items_come_in_the_same_order() -> None:
    assert list(prefetched(range(100))) == list(range(100))
    assert list(prefetched([])) == []
    assert makers() == 0


def test_items_are_made_before_they_are_asked_for_but_not_all_of_them() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    ahead = prefetched(items(), ahead=2)
    assert next(ahead) == 0
    for _ in range(100):
        if len(made) == 4:
            break
        time.sleep(0.01)
    assert made == [0, 1, 2, 3]  # one handed over, two that lie ready, one that waits for room


def test_an_error_while_making_is_raised_where_the_items_are_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    ahead = prefetched(items())
    assert next(ahead) == 1
    with pytest.raises(KeyError, match="broken"):
        next(ahead)
    assert makers() == 0


def test_whoever_stops_early_leaves_no_thread_behind() -> None:
    for number in prefetched(iter(int, 1)):
        assert number == 0
        break
    assert makers() == 0
