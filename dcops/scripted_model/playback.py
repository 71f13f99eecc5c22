"""Sending a reply: steps to a connection, in their time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.responses import Response

from .player import Cut, Gate, Pause

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from starlette.types import Receive, Scope, Send

    from .callers import Gates
    from .player import Step


class Playback(Response):
    """A response whose body is played step by step; it stops when the client has gone.

    Args:
        steps: what to send and when.
        gates: where `Gate` steps wait.
        running: holds this response while it is being played.
        headers: response headers besides the content type.
        media_type: the content type.
    """

    def __init__(
        self,
        steps: Iterable[Step],
        *,
        gates: Gates,
        running: set[object],
        headers: Mapping[str, str],
        media_type: str,
    ) -> None:
        self.steps = steps
        self.gates = gates
        self.running = running
        self.status_code = 200
        self.background = None
        self.media_type = media_type
        self.init_headers(headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        self.running.add(self)
        playing = asyncio.ensure_future(self._play(send))
        leaving = asyncio.ensure_future(_disconnected(receive))
        try:
            await asyncio.wait({playing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if playing.done():
                playing.result()
        finally:
            self.running.discard(self)
            playing.cancel()
            leaving.cancel()
            await asyncio.gather(playing, leaving, return_exceptions=True)

    async def _play(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for step in self.steps:
            if isinstance(step, Pause):
                await asyncio.sleep(step.seconds)
            elif isinstance(step, Gate):
                await self.gates.wait(step.name)
            elif isinstance(step, Cut):
                return  # a response left incomplete makes the server close the connection
            else:
                await send({"type": "http.response.body", "body": step.data, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
