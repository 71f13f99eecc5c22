"""A session's events as a stream that can be left and taken up again at any instance."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import orjson
from starlette.responses import StreamingResponse

from ..events import custom

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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

    The journal is the only source, so that it does not matter which instance runs the turn. Events
    are read when the client has taken the earlier ones: a slow client holds one batch, no queue.

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
        while True:
            # Asked before reading: what a turn wrote until it ended is then in this read at the latest.
            last = self._last_frame()
            events = self._journal.encoded_events(self._session, self._after, BATCH, BATCH_BYTES)
            if events:
                self._after = events[-1][0]
                yield b"".join(b"id: %d\ndata: %s\n\n" % event for event in events)
            elif last is not None:
                if last:
                    yield last
                return
            elif not await self._news() and self._instance.has_session(self._session):
                yield _KEEPALIVE

    def _last_frame(self) -> bytes | None:
        """What to say at the end of the stream, maybe nothing; None while it goes on."""
        if self._run and (turn := self._journal.turn(self._run)) and turn.state != "running":
            return b""
        if self._instance.roles.goes_away and not self._instance.turns.has_turn_of(self._session):
            return _DRAIN
        return None if self._instance.has_session(self._session) else b""

    async def _news(self) -> bool:
        """Wait for events or a change of this instance; False after a while without either."""
        seconds = KEEPALIVE_SECONDS
        waiting = (
            asyncio.ensure_future(self._journal.wait_for_events(self._session, self._after, seconds)),
            asyncio.ensure_future(self._instance.pulse.next()),
        )
        try:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return any(task.result() for task in done)
        finally:
            for task in waiting:
                task.cancel()
