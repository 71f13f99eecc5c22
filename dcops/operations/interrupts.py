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


class Signalled(BaseException):
    """Raised where the signal arrives; no ``except Exception`` on the way may take it for a failure.

    Attributes:
        number: Of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__("interrupted" if number == signal.SIGINT else "terminated")
        self.number = number


class Signals:
    """Raises on the first signal, unless held: undoing must not be torn by a second Ctrl-C."""

    def __init__(self) -> None:
        self.held = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if self.held:
            return
        self.held = True
        raise Signalled(number)


@contextmanager
def interruptible() -> Iterator[Signals]:
    """Within it a signal raises ``Signalled`` once, which leaves it as ``Interrupted``.

    Outside the main thread it does nothing, as Python gives signals to that one only.
    """
    signals = Signals()
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return
    before: dict[int, Callable[[int, FrameType | None], object] | int | None] = {
        number: signal.signal(number, signals.handle) for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield signals
    except Signalled as error:
        raise Interrupted("interrupted; what served still serves", signal_number=error.number) from error
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
