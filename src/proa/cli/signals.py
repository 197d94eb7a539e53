"""Ctrl-C and SIGTERM as a wish to stop, for commands that run for long."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[list[int]]:
    """Set `stop` at SIGINT and SIGTERM: what has begun ends, nothing new begins.

    Yields the numbers of the signals as they come. A second Ctrl-C raises KeyboardInterrupt.
    """
    signals: list[int] = []

    def ask(number: int, _frame: object) -> None:
        signals.append(number)
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
