"""The model behind a socket: HTTP as the gateway speaks it, cut wherever bytes can be cut."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from collections.abc import Iterator

LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Connection(asyncio.Protocol):
    """Takes requests, has them answered, and sends the answers in chunks or until it closes."""

    def __init__(self, api: Any) -> None:
        self._api = api
        self._asked = b""
        self._transport: Any = None
        self._answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if self._answering:
            self._answering.cancel()

    def data_received(self, data: bytes) -> None:
        self._asked += data
        head, ended, body = self._asked.partition(b"\r\n\r\n")
        found = LENGTH.search(head)
        length = int(found[1]) if found else 0
        if not ended or len(body) < length:
            return
        self._asked = body[length:]
        method, path, _ = head.decode().split(" ", 2)
        request = httpx2.Request(method, f"http://model.test{path}", content=body[:length])
        self._answering = asyncio.create_task(self._answer(request))

    async def _answer(self, request: httpx2.Request) -> None:
        response = await self._api.answer(request)
        chunked = self._api.random.random() < 0.8
        how = "Transfer-Encoding: chunked" if chunked else "Connection: close"
        kind = response.headers["content-type"]
        head = f"HTTP/1.1 {response.status_code} Said\r\nContent-Type: {kind}\r\n{how}\r\n\r\n"
        await self._send(head.encode())
        try:
            async for piece in response.stream:
                await self._send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
        except httpx2.TransportError:
            self._transport.abort()
            return
        if chunked:
            await self._send(b"0\r\n\r\n")
        else:
            self._transport.close()

    async def _send(self, data: bytes) -> None:
        for piece in self._cut(data):
            self._transport.write(piece)
            await asyncio.sleep(0)

    def _cut(self, data: bytes) -> Iterator[bytes]:
        place = self._api.random.randrange(len(data) + 1)
        yield data[:place]
        yield data[place:]
