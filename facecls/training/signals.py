"""SIGINT and SIGTERM during training: the first stops after the current step, the second at once."""

import signal
import threading
from types import FrameType
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):  # noqa: N818 -- not an error: the user asked for it
    """Raised after training has stopped on a signal and saved; `signal` is its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.signal = number


class SignalHandler:
    """In a `with`: `received` is the number of the first SIGINT or SIGTERM, or None; the next one has its default effect.

    Outside the main thread, in which Python allows no handlers, nothing is received.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "SignalHandler":
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in _SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _: FrameType | None) -> None:
        self.received = number
        for other in _SIGNALS:
            signal.signal(other, signal.SIG_DFL)
