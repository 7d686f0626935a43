"""Ctrl-C and `kill`: the first asks for an end after this step, the second ends at once."""

import signal
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 -- not an error: the user asked for it
    """Training was asked to stop, and has saved; `signal` is the signal's number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


class Interrupts:
    """While this `with` lasts, `asked` is the number of the first SIGINT or SIGTERM that came, else None."""

    def __init__(self) -> None:
        self.asked: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Interrupts":
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _: FrameType | None) -> None:
        self.asked = number
        for other in _SIGNALS:  # the next one means: now
            signal.signal(other, signal.SIG_DFL)
