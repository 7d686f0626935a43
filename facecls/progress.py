"""What a person sees while something long runs: bars in a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TextIO, TypeAlias, TypeVar

from tqdm import tqdm

T = TypeVar("T")

ProgressBar: TypeAlias = Callable[..., AbstractContextManager[Any]]  # tqdm, or what is called like it

_LINE_SECONDS = 10.0  # between two lines about how far things are, where there is no terminal


class Progress:
    """Says things on stderr, draws bars there if it and stdout are terminals, and prints an epoch's line to `epochs`."""

    def __init__(self, epochs: TextIO | None = None) -> None:
        self.epochs = epochs  # None: stdout
        self.bars = sys.stderr.isatty() and sys.stdout.isatty()

    def bar(self, *, total: int, desc: str, unit: str, initial: int = 0) -> "tqdm[Any]":
        """A tqdm bar, to be used in a `with`; it leaves nothing behind when it is done."""
        return tqdm(total=total, desc=desc, unit=unit, initial=initial, leave=False, disable=not self.bars, dynamic_ncols=True)

    def follow(self, items: Iterable[T], *, total: int | None, unit: str, desc: str) -> Iterator[T]:
        """Passes items on, with a bar on stderr where that is a terminal, else with a line there every ten seconds."""
        if sys.stderr.isatty():
            yield from tqdm(items, total=total, unit=unit, desc=desc, leave=False, dynamic_ncols=True)
            return
        begun = said = time.monotonic()
        for count, item in enumerate(items, 1):
            yield item
            if time.monotonic() - said > _LINE_SECONDS:
                said = time.monotonic()
                of = "" if total is None else f" of {total:,}"
                self.note(f"{desc}: {count:,}{of}, {count / (said - begun):.0f} {unit}s/s")

    def note(self, text: str) -> None:
        """A sentence for the person, on stderr."""
        tqdm.write(text, file=sys.stderr)

    def epoch(self, row: Mapping[str, Any], epochs: int, best: bool) -> None:
        """An epoch's row of metrics.jsonl as one line."""
        width = len(str(epochs))
        line = (
            f"epoch {row['epoch'] + 1:{width}}/{epochs}  lr {row['lr']:.4f}  loss {row['train_loss']:.3f}  "
            f"val loss {row['val_loss']:.3f}  accuracy {row['val_accuracy']:.1%}  macro F1 {row['val_macro_f1']:.1%}  "
            f"{row['images_per_second']:.0f} images/s  waited {row['data_wait']:.1%}  {row['seconds']:.0f} s"
        )
        tqdm.write(line + ("  best" if best else ""), file=self.epochs or sys.stdout)
        (self.epochs or sys.stdout).flush()


class SilentProgress(Progress):
    """Says nothing: another process of the team does."""

    def __init__(self) -> None:
        self.bars = False

    def note(self, text: str) -> None:
        """Left to the first process."""

    def epoch(self, row: Mapping[str, Any], epochs: int, best: bool) -> None:
        """Left to the first process."""


def no_progress(**_: object) -> "tqdm[Any]":
    """A bar that is not shown."""
    return tqdm(disable=True)
