"""HTTP over real sockets, against a server that sends exactly what a test says."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest

from dcops.agent.model.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Kind: a\r\n\r\n"


class Server:
    """Reads a request, answers it by `serve`, and goes on with the next one of the connection."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.connections = 0
        self.asked: list[bytes] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def served(serve: Serve, **timeouts: float) -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    server = Server(serve)
    listening = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    server.url = "http://{}:{}".format(*listening.sockets[0].getsockname())
    timeout = httpx2.Timeout(10, **timeouts)
    async with httpx2.AsyncClient(mounts={"http://": Wire()}, timeout=timeout) as client:
        yield server, client
    listening.close()


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def says(*parts: bytes) -> Serve:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return serve


def cuts(*parts: bytes) -> Serve:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await says(*parts)(reader, writer)
        writer.close()

    return serve


def test_a_response_is_the_same_in_any_pieces_and_its_connection_is_used_again() -> None:
    answer = CHUNKED + b"5\r\nhello\r\n1;x=y\r\n \r\n5\r\nworld\r\n0\r\n\r\n"

    async def test() -> None:
        async with served(says(*(bytes([byte]) for byte in answer))) as (server, client):
            for body in (b"{}", b"x" * 300_000):
                response = await client.post(f"{server.url}/v1?a=b", content=body)
                assert (response.status_code, response.content) == (200, b"hello world")
                assert response.headers["x-kind"] == "a"
                assert server.asked[-1].startswith(b"POST /v1?a=b HTTP/1.1\r\n")
                assert server.asked[-1].endswith(b"\r\n\r\n" + body)
            assert server.connections == 1

    run(test())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
        (
            b"HTTP/1.1 100 Continue\r\n\r\n"
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
        ),
    ],
)
def test_a_closed_connection_ends_a_body_without_a_length_and_is_not_used_again(answer: bytes) -> None:
    async def test() -> None:
        async with served(cuts(answer)) as (server, client):
            for _ in range(2):
                assert (await client.post(server.url, content=b"")).content == b"hello"
            assert server.connections == 2

    run(test())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200",
        CHUNKED,
        CHUNKED + b"5\r\nhel",
        CHUNKED + b"zz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
    ],
)
def test_a_response_that_is_cut_or_wrong_is_an_error(answer: bytes) -> None:
    async def test() -> None:
        async with served(cuts(answer)) as (server, client):
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post(server.url, content=b"")

    run(test())


def test_silence_is_a_timeout_and_a_refusal_an_error() -> None:
    async def test() -> None:
        async with served(says(CHUNKED), read=0.05) as (server, client):
            with pytest.raises(httpx2.ReadTimeout):
                await client.post(server.url, content=b"")
            url = server.url
        async with httpx2.AsyncClient(mounts={"http://": Wire()}) as client:
            with pytest.raises(httpx2.ConnectError):
                await client.post(url, content=b"")

    run(test())


def test_leaving_a_response_hangs_up() -> None:
    gone = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"2\r\nhi\r\n")
        await reader.read()
        gone.set()

    async def test() -> None:
        async with served(serve) as (server, client):
            async with client.stream("POST", server.url, content=b"") as response:
                assert await anext(response.aiter_bytes()) == b"hi"
            await gone.wait()

    run(test())


def test_a_reader_that_takes_its_time_holds_the_sender_and_loses_nothing() -> None:
    sent = 0
    piece = b"x" * 65536

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(CHUNKED)
        for _ in range(800):  # 50 MB, more than the sockets hold
            writer.write(b"10000\r\n" + piece + b"\r\n")
            await writer.drain()
            sent += 1
        writer.write(b"0\r\n\r\n")

    async def test() -> None:
        async with (
            served(serve) as (server, client),
            client.stream("POST", server.url, content=b"") as response,
        ):
            stood = -1
            while stood != sent:  # until nothing more goes out
                stood = sent
                await asyncio.sleep(0.2)
            assert stood < 800
            got = 0
            async for data in response.aiter_bytes():
                got += len(data)
            assert got == 800 * 65536

    run(test())
