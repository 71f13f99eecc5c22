"""A session's events as a stream that can be left and taken up again at any instance."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import orjson
from starlette.responses import StreamingResponse

from ..events import coalesce, continues, custom
from ..journal.records import event_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from ..events import Event
    from ..journal.changes import Row, Signal
    from .instance import Instance

KEEPALIVE_SECONDS = 15.0
BATCH = 256  # events
BATCH_BYTES = 256 * 1024
_RETRY = b"retry: 250\n\n"
_KEEPALIVE = b": keepalive\n\n"
# Without a sequence number it does not move the client's cursor: it is said to this connection only.
_DRAIN = b"data: %s\n\n" % orjson.dumps(custom("drain", {}).wire())


class EventStream:
    """The events of one session after a sequence number, read from the journal.

    The journal is the source, so that it does not matter which instance runs the turn: what this process
    has just committed comes with its bell, anything else is read there. That happens when the client has
    taken the earlier events: a slow client holds one batch and what its bell keeps, and gets joined what it
    missed.

    Args:
        instance: Where the stream is served; when it goes away, so does the stream.
        session: Id of the session.
        after: Sequence number of the last event that the client has.
        run: End with this turn, instead of following the session.
    """

    def __init__(self, instance: Instance, session: str, after: int, *, run: str | None = None) -> None:
        self._instance = instance
        self._journal = instance.journal
        self._session = session
        self._after = after
        self._run = run
        self._spoke = time.monotonic()

    def response(self) -> StreamingResponse:
        """The stream as the answer to a request."""
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(self._counted(), media_type="text/event-stream", headers=headers)

    async def _counted(self) -> AsyncIterator[bytes]:
        with self._instance.counted_stream():
            yield _RETRY
            async for frames in self._frames():
                yield frames

    async def _frames(self) -> AsyncIterator[bytes]:
        with self._journal.follow(self._session) as news, self._nudged(news):
            news.ring()
            while await news.wait():
                if frames := self._told(news.take(self._after)):
                    yield frames
                    continue
                await asyncio.sleep(0)  # a socket that takes all, or is gone, never makes this wait
                # Asked before reading: what a turn wrote until it ended is then in this read at the latest.
                last = self._last_frame()
                if frames := self._told(self._read()):
                    news.ring()  # there may be more
                    yield frames
                elif last is not None:
                    if last:
                        yield last
                    return
                elif self._is_silent():
                    yield self._said(_KEEPALIVE)

    def _read(self) -> list[Row]:
        rows = self._journal.encoded_events(self._session, self._after, BATCH, BATCH_BYTES)
        return _joined(rows) if len(rows) == BATCH else rows

    def _told(self, rows: list[Row] | None) -> bytes:
        if not rows:
            return b""
        self._after = rows[-1][0]
        return self._said(b"".join(b"id: %d\ndata: %s\n\n" % row for row in rows))

    def _said(self, frames: bytes) -> bytes:
        self._spoke = time.monotonic()
        return frames

    def _is_silent(self) -> bool:
        return time.monotonic() - self._spoke > KEEPALIVE_SECONDS / 2

    def _last_frame(self) -> bytes | None:
        """What to say at the end of the stream, maybe nothing; None while it goes on."""
        if self._run and (turn := self._journal.turn(self._run)) and turn.state != "running":
            return b""
        if self._instance.roles.goes_away and not self._instance.turns.has_turn_of(self._session):
            return _DRAIN
        return None if self._instance.has_session(self._session) else b""

    @contextmanager
    def _nudged(self, news: Signal) -> Iterator[None]:
        """Rings also when this instance changes, and now and then."""

        async def nudge() -> None:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(KEEPALIVE_SECONDS):
                        await self._instance.pulse.next()
                news.ring()

        nudging = asyncio.create_task(nudge())
        try:
            yield
        finally:
            nudging.cancel()


def _joined(rows: list[Row]) -> list[Row]:
    """The same events with neighbouring pieces of one text joined, under the last one's number."""
    joined: list[tuple[int, list[Event]]] = []
    for seq, data in rows:
        event = event_of(data)
        pieces = joined.pop()[1] if joined and continues(joined[-1][1][-1], event) else []
        joined.append((seq, [*pieces, event]))
    return [(seq, orjson.dumps(coalesce(pieces)[0].wire())) for seq, pieces in joined]
