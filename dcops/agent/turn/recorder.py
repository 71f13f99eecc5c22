"""From a turn to the journal without waiting: what happens in one pass of the loop is written as one."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from ..events import coalesce, is_piece

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event, Message
    from ..journal.journal import Journal
    from ..journal.records import Turn


GATHER = 0.04
"""Seconds between two writes of text: rows, frames and commits are bounded, however fast a model writes."""

TICK = 0.01
"""Seconds between the moments at which turns write text: those of one moment share a commit."""


class Recorder:
    """Writes a turn's events, messages and notes in their order.

    While one write is on its way to the disk the next one gathers, so a slow disk makes larger writes and not
    a slower reader. Pieces of text gather for up to `GATHER`, but the first one after a silence does not.
    A failed write is raised by `flush`, which the turn awaits before it relies on anything.
    """

    def __init__(
        self,
        journal: Journal,
        turn: Turn,
        seen: Callable[[Turn, Event], None] | None,
        failed: Callable[[], None],
    ) -> None:
        """Takes where to write.

        Args:
            journal: where events and messages go.
            turn: whose they are.
            seen: told each event at once.
            failed: called when a write has failed, after which none is made.
        """
        self._journal = journal
        self._turn = turn
        self._seen = seen
        self._failed = failed
        self._events: list[Event] = []
        self._messages: dict[int, Message | None] = {}
        self._notes: list[Callable[[], object]] = []
        self._flushes: list[asyncio.Future[None]] = []
        self._failure: Exception | None = None
        self._writer: asyncio.Task[None] | None = None
        self._hurry: asyncio.Future[None] | None = None
        self._wrote_text = 0.0

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
        _resolve(self._hurry)
        self._wake()
        await written

    def _wake(self) -> None:
        if self._writer is None:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while self._events or self._messages or self._notes or self._flushes:
            await self._gather()
            events = coalesce(self._events)
            work = partial(self._store, events, self._messages, self._notes)
            flushes = self._flushes
            self._events, self._messages, self._notes, self._flushes = [], {}, [], []
            try:
                if self._failure is None:
                    await self._journal.submit(work)
            except Exception as error:
                self._failure = error
                self._failed()
            for written in flushes:
                _resolve(written, self._failure)
        self._writer = None

    async def _gather(self) -> None:
        """Waits for more, unless somebody waits for the write or no text was written just now."""
        loop = asyncio.get_running_loop()
        due = self._wrote_text + GATHER
        due -= due % TICK
        if loop.time() < due and not self._flushes:
            self._hurry = loop.create_future()
            timer = loop.call_at(due, _resolve, self._hurry)
            await self._hurry
            timer.cancel()
            self._hurry = None
        if any(is_piece(event) for event in self._events):
            self._wrote_text = loop.time()

    def _store(
        self, events: list[Event], messages: dict[int, Message | None], notes: list[Callable[[], object]]
    ) -> None:
        for position, message in messages.items():
            self._journal.put_message(self._turn, position, message)
        if events:
            self._journal.append(self._turn.session, self._turn.id, events)
        for work in notes:
            work()


def _resolve(future: asyncio.Future[None] | None, failure: Exception | None = None) -> None:
    if future is None or future.done():
        return
    if failure:
        future.set_exception(failure)
    else:
        future.set_result(None)
