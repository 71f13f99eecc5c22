"""HTTP over real sockets, against a server that sends exactly what a test says."""

from __future__ import annotations

import asyncio
import gc
import gzip
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest

from dcops.agent.model import wire
from dcops.agent.model.wire import Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Kind: a\r\n\r\n"
PACKED = gzip.compress(b"packed", mtime=0)


class Server:
    """Reads a request, answers it by `serve`, and goes on with the next one of the connection."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.connections = self.open = 0
        self.asked: list[bytes] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                self.asked.append(head + await reader.readexactly(length))
                await self._serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
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


async def until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - what a server counts; `run` has the deadline
        await asyncio.sleep(0.005)


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


def plain(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def in_turn(*serves: Serve) -> Serve:
    rest = list(serves)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await rest.pop(0)(reader, writer)

    return serve


async def post(server: Server, client: httpx2.AsyncClient) -> bytes:
    return (await client.post(server.url, content=b"")).content


def test_a_kept_connection_that_closes_under_a_request_is_replaced_at_once() -> None:
    async def test() -> None:
        serve = in_turn(says(plain(b"one")), cuts(), says(plain(b"two")))
        async with served(serve) as (server, client):
            assert [await post(server, client), await post(server, client)] == [b"one", b"two"]
            assert (len(server.asked), server.connections) == (3, 2)

    run(test())


@pytest.mark.parametrize("before", [(), (says(plain(b"one")),)])
def test_a_request_is_sent_once_if_its_connection_is_new_or_its_answer_has_begun(
    before: tuple[Serve, ...],
) -> None:
    async def test() -> None:
        serve = in_turn(*before, cuts(b"HTTP/1.1" if before else b""), says(plain(b"never")))
        async with served(serve) as (server, client):
            for _ in before:
                await post(server, client)
            with pytest.raises(httpx2.RemoteProtocolError):
                await post(server, client)
            assert server.connections == 1

    run(test())


def test_what_was_left_unread_is_no_part_of_the_next_response() -> None:
    async def test() -> None:
        async with served(in_turn(says(plain(b"left")), says(plain(b"read")))) as (server, client):
            async with client.stream("POST", server.url, content=b""):
                pass
            assert await post(server, client) == b"read"
            assert server.connections == 1

    run(test())


def test_what_a_server_says_unasked_answers_nothing() -> None:
    async def test() -> None:
        gone, more = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(plain(b"one"))
            await more.wait()
            writer.write(plain(b"unasked"))
            await reader.read()
            gone.set()

        serves = in_turn(says(plain(b"zero") + plain(b"unasked")), serve, says(plain(b"two")))
        async with served(serves) as (server, client):
            assert [await post(server, client), await post(server, client)] == [b"zero", b"one"]
            more.set()
            await gone.wait()
            assert await post(server, client) == b"two"
            assert server.connections == 3

    run(test())


def test_a_server_that_speaks_first_is_none_of_http() -> None:
    async def greet(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 hello\r\n")

    async def test() -> None:
        listening = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with httpx2.AsyncClient(mounts={"http://": Wire()}) as client:
            with pytest.raises(httpx2.TransportError):
                await client.post("http://{}:{}".format(*listening.sockets[0].getsockname()))
        listening.close()

    run(test())


@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 304 Not Modified\r\n\r\n", 304, b""),
        (b"HTTP/1.1 103 Early Hints\r\nX-Kind: early\r\n\r\n" + plain(b"late"), 200, b"late"),
        (CHUNKED + b"2\r\nhi\r\n0\r\nX-Kind: trailing\r\nContent-Encoding: gzip\r\n\r\n", 200, b"hi"),
        (
            plain(gzip.compress(b"packed", mtime=0)).replace(b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1),
            200,
            b"packed",
        ),
    ],
    ids=["no content", "not modified", "early hints", "trailers", "packed"],
)
def test_every_form_of_a_response_ends_and_leaves_its_connection(
    answer: bytes, status: int, body: bytes
) -> None:
    async def test() -> None:
        async with served(says(answer)) as (server, client):
            for _ in range(2):
                response = await client.post(server.url, content=b"")
                assert (response.status_code, response.content) == (status, body)
                assert response.headers.get("x-kind") in {None, "a"}
            assert server.connections == 1

    run(test())


@pytest.mark.parametrize(("name", "value", "left"), [("_MOST", 2, 2), ("_IDLE", 0.0, 0)])
def test_connections_are_kept_within_bounds(
    monkeypatch: pytest.MonkeyPatch, name: str, value: float, left: int
) -> None:
    monkeypatch.setattr(wire, name, value)
    together = asyncio.Barrier(5)

    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await together.wait()
        writer.write(plain(b"ok"))

    async def test() -> None:
        async with served(serve) as (server, client):
            await asyncio.gather(*(post(server, client) for _ in range(5)))
            await until(lambda: server.open == left)

    run(test())


def test_closing_the_client_closes_a_connection_in_use_once_it_is_not() -> None:
    async def test() -> None:
        connections = Wire()
        async with served(says(plain(b"ok"))) as (server, _):
            request = httpx2.Request("POST", server.url, content=b"")
            response = await connections.handle_async_request(request)
            await connections.aclose()
            assert await response.aread() == b"ok"
            await until(lambda: server.open == 0)

    run(test())


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200", CHUNKED, CHUNKED + b"2\r\nhi\r\n"])
def test_who_stops_waiting_hangs_up_and_leaves_nothing(answer: bytes) -> None:
    async def test() -> None:
        complaints: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with served(says(answer)) as (server, client):
            asking = asyncio.create_task(post(server, client))
            await until(lambda: bool(server.asked))
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
            await until(lambda: server.open == 0)
            del asking
            gc.collect()
        assert complaints == []

    run(test())


def test_an_address_of_ipv6_is_reached() -> None:
    async def test() -> None:
        server = Server(says(plain(b"ok")))
        try:
            listening = await asyncio.start_server(server.handle, "::1", 0)
        except OSError:
            pytest.skip("this machine has no IPv6")
        server.url = f"http://[::1]:{listening.sockets[0].getsockname()[1]}"
        async with httpx2.AsyncClient(mounts={"http://": Wire()}) as client:
            assert await post(server, client) == b"ok"
        assert b"\r\nhost: [::1]" in server.asked[0].lower()
        listening.close()

    run(test())


@pytest.mark.parametrize("value", ["a\r\nX-Injected: b", "a\nb", "a\0"])
def test_a_header_cannot_begin_another_one(value: str) -> None:
    async def test() -> None:
        async with served(says(plain(b"ok"))) as (server, client):
            with pytest.raises(httpx2.LocalProtocolError):
                await client.post(server.url, content=b"", headers={"X-Kind": value})
            assert server.asked == []

    run(test())
