"""Iterates ahead in a background thread."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


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
