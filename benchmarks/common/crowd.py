"""Many clients that read event streams, and how late the text in them is."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

from common.player import STAMP

if TYPE_CHECKING:
    from common.instance import Instance

PIECE = f"t={STAMP} "
_FIRST = re.compile(rb'"delta":"t=(\d{10}\.\d{5}) ')
_EACH = b"t="


class Crowd:
    """A client for each session; what they read is counted together.

    Attributes:
        late: Seconds from when the first piece of an event was sent by the model to its arrival here.
        pieces: How many pieces came.
    """

    def __init__(self, instance: Instance, sessions: list[str]) -> None:
        self._instance = instance
        self._sessions = sessions
        self._transports: list[asyncio.BaseTransport] = []
        self.late: list[float] = []
        self.pieces = 0

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        for session in self._sessions:
            path = str(self._instance.socket)
            transport, _ = await loop.create_unix_connection(lambda: _Client(self), path)
            transport.write(
                f"GET /v1/sessions/{session}/events HTTP/1.1\r\nHost: localhost\r\n"
                f"Authorization: Bearer {self._instance.token}\r\n\r\n".encode()
            )
            self._transports.append(transport)

    def close(self) -> None:
        for transport in self._transports:
            transport.close()


class _Client(asyncio.Protocol):
    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd

    def data_received(self, data: bytes) -> None:
        now = time.monotonic()
        self._crowd.pieces += data.count(_EACH)
        self._crowd.late += [now - float(sent) for sent in _FIRST.findall(data)]
