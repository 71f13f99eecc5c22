"""SIGINT and SIGTERM as one exception, raised where a plan can be taken back."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dcops.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType


class Signals:
    """Raises on the first signal, unless held: undoing must not be torn by a second Ctrl-C."""

    def __init__(self) -> None:
        self.held = False
        self.received: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if self.held:
            return
        self.held, self.received = True, number
        raise Interrupted("interrupted", signal_number=number)


@contextmanager
def interruptible() -> Iterator[Signals]:
    """Within it a signal raises ``Interrupted`` once; outside the main thread it does nothing."""
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {
        number: signal.signal(number, signals.handle) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
