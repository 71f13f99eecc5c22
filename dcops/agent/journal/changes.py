"""Who waits for a commit: woken at once by this process, within `POLL` by another one."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

POLL = 0.02
"""Seconds between two looks at what other processes committed; only while somebody waits."""

TAIL = 64 * 1024
"""Bytes that a bell keeps for its waiter; who has not come by then reads them from the store."""

Row = tuple[int, bytes]
"""A number that grows by one from row to row of a topic, and what was committed under it."""


class Signal:
    """One waiter's bell, with what was committed by this process since the waiter came last."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()
        self._rows: list[Row] | None = []
        self._size = 0
        self.loop = asyncio.get_running_loop()

    def ring(self, rows: Sequence[Row] | None = None) -> None:
        """Wakes the waiter, with these rows or to look for himself; for the thread of its loop."""
        self._size += sum(len(data) for _, data in rows or ())
        if rows is None or self._rows is None or self._size > TAIL:
            self._rows = None
        else:
            self._rows += rows
        self._rung.set()

    def take(self, after: int) -> list[Row] | None:
        """The rows behind number `after`; None when the store may have others, so that it must be read."""
        rows, self._rows, self._size = self._rows, [], 0
        if rows is None:
            return None
        rows = [row for row in rows if row[0] > after]
        return rows if rows and rows[-1][0] == after + len(rows) else None

    async def wait(self, seconds: float | None = None) -> bool:
        """Whether something was committed since the last call; false when the time was up first."""
        if seconds is None:
            await self._rung.wait()
        else:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rung.wait(), seconds)
        rung = self._rung.is_set()
        self._rung.clear()
        return rung


class Changes:
    """Bells by topic, and one task that looks for commits of other processes."""

    def __init__(self, version: Callable[[], int]) -> None:
        """Takes what tells a number that differs after a commit of another process."""
        self._version = version
        self._seen = 0
        self._signals: dict[str, set[Signal]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news: list[tuple[str, Sequence[Row] | None]] = []
        self._telling = threading.Lock()

    @contextmanager
    def watch(self, topic: str) -> Iterator[Signal]:
        """A bell for `topic`: read what there is after entering, wait if it is not enough, read again."""
        signal = Signal()
        self._loop = signal.loop
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

    def notify(self, topic: str, rows: Sequence[Row] | None = None) -> None:
        """Wakes who watches `topic`, and tells what was committed there; from any thread."""
        if topic not in self._signals or self._loop is None:
            return
        with self._telling:
            self._news.append((topic, rows))
            if len(self._news) > 1:
                return  # the loop is called already: one call for all topics of a commit
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        with self._telling:
            news, self._news = self._news, []
        for topic, rows in news:
            for signal in self._signals.get(topic, ()):
                signal.ring(rows)

    async def _poll(self) -> None:
        try:
            while self._signals:
                await asyncio.sleep(POLL)
                try:
                    version = self._version()
                except sqlite3.OperationalError:  # a disk fault may pass; who waits sees it, and may end
                    self._ring()
                    continue
                if version != self._seen:
                    self._seen = version
                    self._ring()
        finally:
            self._ring()  # who waits without a limit must see for himself that nothing can be read any more

    def _ring(self) -> None:
        for signals in self._signals.values():
            for signal in signals:
                signal.ring()
