"""Iterates ahead in background threads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4  # items per thread, so that one slow item does not stop the other threads


def prefetch(items: Iterable[T], ahead: int = 2) -> Iterator[T]:
    """The same items in the same order; a thread holds up to `ahead` of them ready and computes the next.

    An error of `items` is raised here, in its turn.
    """
    iterator = iter(items)
    end: Any = object()
    thread = ThreadPoolExecutor(1, "facecls-prefetch")
    futures = deque(thread.submit(next, iterator, end) for _ in range(ahead + 1))
    try:
        while (item := futures.popleft().result()) is not end:
            futures.append(thread.submit(next, iterator, end))
            yield item
    finally:  # not `with`, which would compute the remaining items first
        thread.shutdown(cancel_futures=True)


def map_in_threads(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """`function(item)` for each item, in order; a few items per thread are computed ahead.

    An error of `function` is raised here, in its turn.
    """
    remaining = iter(items)
    pool = ThreadPoolExecutor(threads)
    try:
        pending = deque(pool.submit(function, item) for item in islice(remaining, _AHEAD * threads))
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(function, item) for item in islice(remaining, 1))
            yield result
    finally:  # not `with`, which would compute the pending items first
        pool.shutdown(cancel_futures=True)
