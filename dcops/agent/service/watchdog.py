"""Ends a process whose event loop hangs, so that its keeper can start it again."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import sys
import threading
import time

HANG_SECONDS = 30
EXIT_HANGS = 70


class Watchdog:
    """A thread that looks whether the event loop still moves.

    It counts its own ticks instead of reading a clock: while the whole process is stopped (a paused
    container, a sleeping laptop) the thread stands still as well, and nothing hangs.

    Args:
        hang_seconds: How long the event loop may stand still, in whole seconds.
    """

    def __init__(self, hang_seconds: int = HANG_SECONDS) -> None:
        self._hang_seconds = hang_seconds
        self._beats = 0

    async def beat(self) -> None:
        """Start watching, and show that the event loop moves until cancelled."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()
        while True:
            self._beats += 1
            await asyncio.sleep(0.5)

    def _watch(self) -> None:
        seen, missed = self._beats, 0
        while missed < self._hang_seconds:
            time.sleep(1)
            seen, missed = self._beats, 0 if self._beats != seen else missed + 1
        # Straight to the descriptor: the log's lock may be what hangs.
        os.write(2, b'{"level":"critical","event":"watchdog.event_loop_hangs"}\n')
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        os._exit(EXIT_HANGS)
