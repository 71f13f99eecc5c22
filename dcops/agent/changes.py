"""Who waits for a commit: woken at once by this process, within `POLL` by another one."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLL = 0.02
"""Seconds between two looks at what other processes committed; only while somebody waits."""


class Signal:
    """One waiter's bell."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def ring(self) -> None:
        """Wakes the waiter; for the thread of its loop."""
        self._rung.set()

    async def wait(self, seconds: float | None = None) -> bool:
        """Whether something was committed since the last call; false when the time was up first."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Changes:
    """Bells by topic, and one task that looks for commits of other processes."""

    def __init__(self, version: Callable[[], int]) -> None:
        """Takes what reads the store's version number."""
        self._version = version
        self._seen = 0
        self._signals: dict[str, set[Signal]] = {}
        self._poller: asyncio.Task[None] | None = None

    @contextmanager
    def watch(self, topic: str) -> Iterator[Signal]:
        """A bell for `topic`: read what there is after entering, wait if it is not enough, read again."""
        signal = Signal()
        self._signals.setdefault(topic, set()).add(signal)
        if self._poller is None or self._poller.done():
            self._seen = self._version()  # before the caller reads, or a commit in between would be missed
            self._poller = signal.loop.create_task(self._poll())
        try:
            yield signal
        finally:
            self._signals[topic].discard(signal)
            if not self._signals[topic]:
                del self._signals[topic]

    def notify(self, topic: str) -> None:
        """Wakes who watches `topic`; from any thread."""
        for signal in tuple(self._signals.get(topic, ())):
            if not signal.loop.is_closed():
                signal.loop.call_soon_threadsafe(signal.ring)

    async def _poll(self) -> None:
        try:
            while self._signals:
                await asyncio.sleep(POLL)
                version = self._version()
                if version != self._seen:
                    self._seen = version
                    self._ring()
        finally:
            self._ring()  # who waits without a limit must see for himself that nothing can be read any more

    def _ring(self) -> None:
        for signals in self._signals.values():
            for signal in signals:
                signal.ring()
