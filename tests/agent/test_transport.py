"""The SDK's client against a real server that answers what the test says."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent import transport as transport_module
from dcops.agent.events import Fault
from dcops.agent.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

REQUEST = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"

Answer = "Callable[[asyncio.StreamWriter], Awaitable[None]]"


class Server:
    """Answers every request the same way and remembers them."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.requests: list[tuple[bytes, dict[str, Any]]] = []
        self.hung_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        self.requests.append((head.lower(), json.loads(await reader.readexactly(length))))
        await self._answer(writer)
        if await reader.read() == b"":
            self.hung_up.set()
        writer.close()


@asynccontextmanager
async def _serving(answer: Any) -> AsyncIterator[tuple[Server, Transport]]:
    server = Server(answer)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    transport = Transport(f"http://{host}:{port}", "k" * 64)
    try:
        yield server, transport
    finally:
        await transport.close()
        listening.close()


def _sent(*events: dict[str, Any], tail: bytes = b"", status: bytes = HEAD) -> Callable[..., Awaitable[None]]:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(status)
        for event in events:
            writer.write(b"event: %b\ndata: %b\n\n" % (event["type"].encode(), json.dumps(event).encode()))
        writer.write(tail)
        await writer.drain()
        writer.write_eof()

    return answer


def _refused(code: int, kind: str, message: str) -> Callable[..., Awaitable[None]]:
    body = json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()
    head = f"HTTP/1.1 {code} X\r\ncontent-length: {len(body)}\r\nretry-after-ms: 1\r\n\r\n"
    return _sent(status=head.encode() + body)


def _read(answer: Any) -> tuple[list[dict[str, Any]], Server]:
    async def run() -> tuple[list[dict[str, Any]], Server]:
        async with _serving(answer) as (server, transport), transport.stream(REQUEST) as stream:
            return [event async for event in stream], server

    return asyncio.run(asyncio.wait_for(run(), 20))


def _fault(answer: Any) -> tuple[Fault, Server]:
    async def run() -> tuple[Fault, Server]:
        async with _serving(answer) as (server, transport):
            try:
                async with transport.stream(REQUEST) as stream:
                    async for _ in stream:
                        pass
            except Fault as fault:
                return fault, server
            raise AssertionError("no fault")

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_events_come_as_they_were_sent_pings_errors_and_unknown_ones_included() -> None:
    sent = [{"type": "message_start"}, {"type": "ping"}, {"type": "brand_new", "x": [1]}, {"type": "error"}]
    events, server = _read(_sent(*sent))
    assert events == sent
    head, body = server.requests[0]
    assert b"authorization: bearer " + b"k" * 64 in head
    assert b"post /v1/messages " in head
    assert body == {**REQUEST, "stream": True}


def test_an_event_comes_before_the_stream_ends() -> None:
    async def run() -> None:
        more = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await _sent_open(writer)
            await more.wait()
            writer.write_eof()

        async with _serving(answer) as (_, transport), transport.stream(REQUEST) as stream:
            assert await asyncio.wait_for(anext(stream), 10) == {"type": "ping"}
            more.set()
            assert [event async for event in stream] == []

    asyncio.run(run())


async def _sent_open(writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b'data: {"type": "ping"}\n\n')
    await writer.drain()


def test_leaving_the_stream_hangs_up() -> None:
    async def run() -> None:
        async with _serving(_sent_open) as (server, transport):
            async with transport.stream(REQUEST) as stream:
                await anext(stream)
            await asyncio.wait_for(server.hung_up.wait(), 1)

    asyncio.run(run())


def test_cancelling_the_reader_hangs_up() -> None:
    async def run() -> None:
        async with _serving(_sent_open) as (server, transport):
            reading = asyncio.Event()

            async def read() -> None:
                async with transport.stream(REQUEST) as stream:
                    async for _ in stream:
                        reading.set()

            task = asyncio.create_task(read())
            await asyncio.wait_for(reading.wait(), 10)
            task.cancel()
            await asyncio.wait_for(server.hung_up.wait(), 1)

    asyncio.run(run())


def test_a_refusal_has_the_apis_words_and_is_not_repeated() -> None:
    fault, server = _fault(_refused(400, "invalid_request_error", "messages: too short"))
    assert (fault.code, str(fault), fault.mid_stream) == (
        "invalid_request_error",
        "messages: too short",
        False,
    )
    assert len(server.requests) == 1


@pytest.mark.slow
def test_an_overload_is_repeated_before_it_is_a_fault() -> None:
    fault, server = _fault(_refused(529, "overloaded_error", "Overloaded"))
    assert fault.code == "overloaded_error"
    assert len(server.requests) == 3


def test_an_answer_that_is_not_the_apis_is_a_fault() -> None:
    body = b"<html>bad gateway"
    head = b"HTTP/1.1 404 X\r\ncontent-length: %d\r\n\r\n" % len(body)
    fault, _ = _fault(_sent(status=head + body))
    assert fault.code == "http_404"


@pytest.mark.slow
def test_nobody_listening_is_a_fault() -> None:
    async def run() -> Fault:
        transport = Transport("http://127.0.0.1:1", "k")
        with pytest.raises(Fault) as caught:
            async with transport.stream(REQUEST):
                pass
        await transport.close()
        return caught.value

    fault = asyncio.run(run())
    assert (fault.code, fault.mid_stream) == ("connection_error", False)


@pytest.mark.parametrize("tail", [b'data: {"type": "cu', b"data: no json\n\n"])
def test_what_is_cut_within_an_event_is_a_broken_stream(tail: bytes) -> None:
    fault, _ = _fault(_sent({"type": "message_start"}, tail=tail))
    assert (fault.code, fault.mid_stream) == ("stream_broken", True)


def test_a_connection_that_is_cut_is_a_broken_stream() -> None:
    chunked = HEAD.replace(b"connection: close", b"transfer-encoding: chunked")
    fault, _ = _fault(_sent(status=chunked + b"4\r\n:hi\n\r\n"))
    assert (fault.code, fault.mid_stream) == ("stream_broken", True)


def test_a_silent_stream_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "SILENCE", 0.2)
    fault, _ = _fault(_sent_open)
    assert (fault.code, fault.mid_stream) == ("stream_stalled", True)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    import subprocess
    import sys

    late = ["anthropic", "httpx2", "jsonschema"]
    code = f"import sys, dcops.agent.loop; print([name for name in {late} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"
