"""From a turn to the journal without waiting: what happens in one pass of the loop is written as one."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from .events import coalesce

if TYPE_CHECKING:
    from collections.abc import Callable

    from .events import Event, Message
    from .journal.journal import Journal
    from .journal.records import Turn


class Recorder:
    """Writes a turn's events, messages and notes in their order.

    While one write is on its way to the disk the next one gathers, so a slow disk makes larger writes and not
    a slower reader. A failed write is raised by `flush`, which the turn awaits before it relies on anything.
    """

    def __init__(self, journal: Journal, turn: Turn, seen: Callable[[Turn, Event], None] | None) -> None:
        """Takes where to write, and who else wants to see each event at once."""
        self._journal = journal
        self._turn = turn
        self._seen = seen
        self._events: list[Event] = []
        self._messages: dict[int, Message | None] = {}
        self._notes: list[Callable[[], object]] = []
        self._flushes: list[asyncio.Future[None]] = []
        self._failure: Exception | None = None
        self._writer: asyncio.Task[None] | None = None

    def emit(self, *events: Event) -> None:
        """Adds events."""
        self._events.extend(events)
        if self._seen:
            for event in events:
                self._seen(self._turn, event)
        self._wake()

    def put(self, position: int, message: Message | None) -> None:
        """Writes a message in place of what stood at `position`; None removes it."""
        self._messages[position] = message
        self._wake()

    def note(self, work: Callable[[], object]) -> None:
        """Runs `work` (calls of the journal) in the same transaction as what was emitted just before."""
        self._notes.append(work)
        self._wake()

    async def flush(self) -> None:
        """Returns when everything so far is on disk.

        Raises:
            Exception: what a write failed with; nothing is written after it.
        """
        written = asyncio.get_running_loop().create_future()
        self._flushes.append(written)
        self._wake()
        await written

    def _wake(self) -> None:
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._events or self._messages or self._notes or self._flushes:
            work = partial(self._store, coalesce(self._events), self._messages, self._notes)
            flushes = self._flushes
            self._events, self._messages, self._notes, self._flushes = [], {}, [], []
            try:
                if self._failure is None:
                    await self._journal.submit(work)
            except Exception as error:
                self._failure = error
            for written in flushes:
                if written.done():
                    continue
                if self._failure:
                    written.set_exception(self._failure)
                else:
                    written.set_result(None)
        self._writer = None

    def _store(
        self, events: list[Event], messages: dict[int, Message | None], notes: list[Callable[[], object]]
    ) -> None:
        for position, message in messages.items():
            self._journal.put_message(self._turn, position, message)
        if events:
            self._journal.append(self._turn.session, self._turn.id, events)
        for work in notes:
            work()
