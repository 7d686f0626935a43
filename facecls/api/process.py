"""Keeps the state of the process as it is."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def unchanged_process(threads: int | None) -> Iterator[None]:
    """In a `with`: torch has `threads` threads (None: as many as before); then they and the random state are set back."""
    before = torch.get_num_threads()
    with torch.random.fork_rng(range(torch.cuda.device_count())):
        try:
            if threads is not None:
                torch.set_num_threads(threads)
            yield
        finally:
            if threads is not None:
                torch.set_num_threads(before)
