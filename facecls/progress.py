"""Progress bars, notes and the epoch line."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import Any, Protocol, TextIO, TypeAlias, TypeVar

from tqdm import tqdm

T = TypeVar("T")

ProgressBar: TypeAlias = Callable[..., AbstractContextManager[Any]]  # tqdm, or a function called like it

_LINE_SECONDS = 10.0  # between two progress lines if stderr is not a terminal


class Reporter(Protocol):
    """What training reports to."""

    def bar(self, *, total: int, desc: str, unit: str, initial: int = 0) -> "tqdm[Any]": ...  # used in a `with`
    def note(self, text: str) -> None: ...
    def epoch(self, line: str) -> None: ...


class Progress:
    """Prints notes to stderr and epoch lines to `epochs`, and draws bars on stderr if it and stdout are terminals."""

    def __init__(self, epochs: TextIO | None = None) -> None:
        self.epochs = epochs  # None: stdout
        self.bars = sys.stderr.isatty() and sys.stdout.isatty()

    def bar(self, *, total: int, desc: str, unit: str, initial: int = 0) -> "tqdm[Any]":
        """A tqdm bar, used in a `with`; it is erased when it is closed."""
        return tqdm(total=total, desc=desc, unit=unit, initial=initial, leave=False, disable=not self.bars, dynamic_ncols=True)

    def follow(self, items: Iterable[T], *, total: int | None, unit: str, desc: str) -> Iterator[T]:
        """Yields the items, with a bar on stderr if that is a terminal, else with a line there every ten seconds."""
        if sys.stderr.isatty():
            yield from tqdm(items, total=total, unit=unit, desc=desc, leave=False, dynamic_ncols=True)
            return
        started = printed = time.monotonic()
        for count, item in enumerate(items, 1):
            yield item
            if time.monotonic() - printed > _LINE_SECONDS:
                printed = time.monotonic()
                of = "" if total is None else f" of {total:,}"
                self.note(f"{desc}: {count:,}{of}, {count / (printed - started):.0f} {unit}s/s")

    def note(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)

    def epoch(self, line: str) -> None:
        tqdm.write(line, file=self.epochs or sys.stdout)
        (self.epochs or sys.stdout).flush()


class SilentProgress:
    """Reports nothing."""

    def bar(self, **_: object) -> "tqdm[Any]":
        return no_progress()

    def note(self, text: str) -> None: ...
    def epoch(self, line: str) -> None: ...


def no_progress(**_: object) -> "tqdm[Any]":
    """A bar that is not shown."""
    return tqdm(disable=True)


def reporter_of(progress: Reporter | bool) -> Reporter:
    """A reporter, or the one of the command line for True and a silent one for False."""
    if isinstance(progress, bool):
        return Progress() if progress else SilentProgress()
    return progress
