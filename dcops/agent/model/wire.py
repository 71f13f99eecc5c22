"""HTTP/1.1 to the gateway over a plain socket, beneath the SDK: what a stream of many small pieces costs.

The SDK's own way takes each piece through a parser in Python and six generators: at a hundred pieces a second
of two hundred sessions that is more than a core has. Here a parser in C takes what the socket holds, and all
of it is handed on at once.
"""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import contextmanager
from math import inf
from typing import TYPE_CHECKING

import httptools
import httpx2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_HIGH = 256 * 1024
"""Bytes of a reply that wait for their reader before the socket is read no further."""

_MOST = 100
"""Connections to one server that are kept while nothing is asked."""

_IDLE = 120.0
"""Seconds for which they are; the gateway keeps them longer."""

_UNSAFE = re.compile(rb"[\r\n\0]")
"""What would end a line of a request's head, and begin another one."""


class Wire(httpx2.AsyncBaseTransport):
    """Connections to servers without TLS, kept for the next request.

    For one event loop, and for requests whose body has a known length and whose method is not HEAD.
    """

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(64 * 1024))
        self._idle: dict[tuple[str, int], list[_Connection]] = {}
        self._closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Sends a request; the response comes back with its head, and its body is read by its stream.

        A server may close a kept connection at the moment when a request is sent over it. That request is
        sent again over a new one: nothing of a response has come, and a second one costs tokens at the most.

        Raises:
            httpx2.TransportError: unreachable, timed out, or broken off.
        """
        where = (request.url.host, request.url.port or 80)
        data = _head(request) + await request.aread()
        seconds = request.extensions.get("timeout", {})
        if kept := self._kept(where):
            try:
                return await self._exchange(where, kept, data, seconds.get("read"))
            except (httpx2.RemoteProtocolError, httpx2.ReadError):
                if kept.heard:
                    raise
        connection = await self._connect(where, seconds.get("connect"))
        return await self._exchange(where, connection, data, seconds.get("read"))

    async def _exchange(
        self, where: tuple[str, int], connection: _Connection, data: bytes, seconds: float | None
    ) -> httpx2.Response:
        try:
            connection.send(data)
            await connection.head(seconds)
        except BaseException:
            connection.abort()
            raise
        return httpx2.Response(
            connection.status,
            headers=connection.headers,
            stream=_Body(self, where, connection, seconds),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def _connect(self, where: tuple[str, int], seconds: float | None) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            with _timed_out(httpx2.ConnectTimeout):
                async with asyncio.timeout(seconds):
                    _, connection = await loop.create_connection(lambda: _Connection(self._buffer), *where)
        except OSError as error:
            raise httpx2.ConnectError(str(error)) from error
        return connection

    async def aclose(self) -> None:
        """Closes the connections that are kept, and those in use as soon as they are not."""
        self._closed = True
        for kept in self._idle.values():
            for connection in kept:
                connection.abort()
        self._idle.clear()

    def _kept(self, where: tuple[str, int]) -> _Connection | None:
        kept = self._idle.get(where, [])
        while kept:
            connection = kept.pop()
            if connection.rested() < _IDLE:
                return connection
            connection.abort()
        return None

    def keep(self, where: tuple[str, int], connection: _Connection) -> None:
        """Takes back a connection whose response was read; one that cannot go on is closed."""
        connection.rest()
        if self._closed or connection.rested() >= _IDLE:
            connection.abort()
            return
        kept = self._idle.setdefault(where, [])
        kept.append(connection)
        while len(kept) > _MOST or kept[0].rested() >= _IDLE:
            kept.pop(0).abort()


class _Body(httpx2.AsyncByteStream):
    """The rest of a response, in pieces as large as what has come."""

    def __init__(
        self, wire: Wire, where: tuple[str, int], connection: _Connection, seconds: float | None
    ) -> None:
        self._wire = wire
        self._where = where
        self._connection = connection
        self._seconds = seconds

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self._connection.body(self._seconds):
            yield data

    async def aclose(self) -> None:
        """Gives the connection back, or hangs up in the middle of a response."""
        self._wire.keep(self._where, self._connection)


class _Connection(asyncio.BufferedProtocol):
    """One connection; the parser calls the methods `on_...`.

    What its socket holds lies in `buffer` until the parser has it, a moment later: all can have the same one.
    """

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._transport: asyncio.Transport
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._size = 0
        self._waiter: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._lost = False
        self._headed = False
        self._complete = True
        self._keeps = True
        self._rests_since = 0.0
        self.heard = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []

    def rest(self) -> None:
        """Ends an exchange; what was not read of its response is gone."""
        self._take()
        self._rests_since = asyncio.get_running_loop().time()

    def rested(self) -> float:
        """Seconds since the last exchange; without end if another request cannot be sent over it."""
        if not self._complete or not self._keeps or self._lost or self._failure is not None:
            return inf
        return asyncio.get_running_loop().time() - self._rests_since

    def send(self, data: bytes) -> None:
        """Begins an exchange."""
        self._parser = httptools.HttpResponseParser(self)
        self._headed = self._complete = self._keeps = self.heard = False
        self.headers = []
        self._transport.write(data)

    async def head(self, seconds: float | None) -> None:
        """Returns when status and headers are there."""
        while not self._headed:
            await self._more(seconds)

    async def body(self, seconds: float | None) -> bytes:
        """What has come of the body since the last call, waiting for some; nothing at its end."""
        while not self._pieces and not self._complete:
            await self._more(seconds)
        return self._take()

    def _take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        if self._size > _HIGH:
            self._transport.resume_reading()
        self._size = 0
        return data

    def abort(self) -> None:
        """Hangs up."""
        self._transport.abort()

    async def _more(self, seconds: float | None) -> None:
        if self._failure is not None:
            raise self._failure
        if self._lost:
            raise httpx2.RemoteProtocolError("the connection was closed before the response was complete")
        self._waiter = asyncio.get_running_loop().create_future()
        if seconds is None:
            await self._waiter
            return
        with _timed_out(httpx2.ReadTimeout):
            async with asyncio.timeout(seconds):
                await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, _size: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, size: int) -> None:
        self.heard = True
        try:
            self._parser.feed_data(self._buffer[:size])
        except httptools.HttpParserError as error:
            self._failure = httpx2.RemoteProtocolError(str(error))
            self._transport.abort()
        if self._size > _HIGH:
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if error is not None and self._failure is None:
            self._failure = httpx2.ReadError(str(error))
        elif self._headed and self._until_closed():
            self._complete = True
        self._wake()

    def _until_closed(self) -> bool:
        return not {b"content-length", b"transfer-encoding"} & {name.lower() for name, _ in self.headers}

    # The parser

    def on_message_begin(self) -> None:
        if self._complete:
            raise ValueError("the server says more than it was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._headed:  # what follows the body is left out
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self.status = self._parser.get_status_code()
        if self.status < 200:
            self.headers = []
        else:
            self._headed = True

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)

    def on_message_complete(self) -> None:
        if self._headed:
            self._complete, self._keeps = True, self._parser.should_keep_alive()


@contextmanager
def _timed_out(kind: type[httpx2.TimeoutException]) -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise kind("no answer in time") from error


def _head(request: httpx2.Request) -> bytes:
    lines = [b"%s %s HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%s: %s" % header for header in request.headers.raw]
    if any(map(_UNSAFE.search, lines)):
        raise httpx2.LocalProtocolError("a header of the request has a line end in it")
    return b"\r\n".join([*lines, b"", b""])
