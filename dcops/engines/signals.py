"""Signals that go on to somebody else for a while."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def passing_on(receive: Callable[[int], None]) -> Iterator[None]:
    """Give what would end us to ``receive`` instead; only a program's main thread gets signals at all.

    What is ignored stays so, as nohup and a shell's background want it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [each for each in PASSED_ON if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, lambda number, _frame: receive(number)) for each in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
