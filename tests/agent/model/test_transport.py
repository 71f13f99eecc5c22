"""The SDK's client against a real server that answers what the test says."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from dcops.agent.events import Fault
from dcops.agent.model import transport as transport_module
from dcops.agent.model.models import Model, model
from dcops.agent.model.request import Request
from dcops.agent.model.transport import Transport

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

BODY = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}
REQUEST = Request(BODY, ("one-beta", "two-beta"))
STALL = 20.0
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
        async with _serving(answer) as (server, transport), transport.stream(REQUEST, STALL) as stream:
            return [event async for event in stream], server

    return asyncio.run(asyncio.wait_for(run(), 20))


def _fault(answer: Any, stall: float = STALL) -> tuple[Fault, Server]:
    async def run() -> tuple[Fault, Server]:
        async with _serving(answer) as (server, transport):
            try:
                async with transport.stream(REQUEST, stall) as stream:
                    async for _ in stream:
                        pass
            except Fault as fault:
                return fault, server
            raise AssertionError("no fault")

    return asyncio.run(asyncio.wait_for(run(), 20))


def test_events_come_as_they_were_sent_pings_errors_and_unknown_ones_included() -> None:
    kinds = ("message_start", "ping", "brand_new", "error")
    sent: list[dict[str, Any]] = [{"type": kind, "x": [1]} for kind in kinds]
    events, server = _read(_sent(*sent))
    assert events == sent
    head, body = server.requests[0]
    assert b"authorization: bearer " + b"k" * 64 in head
    assert b"post /v1/messages " in head
    assert body == {**BODY, "stream": True}
    assert b"anthropic-beta: one-beta,two-beta\r\n" in head


def test_an_event_comes_before_the_stream_ends() -> None:
    async def run() -> None:
        more = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            await _sent_open(writer)
            await more.wait()
            writer.write_eof()

        async with _serving(answer) as (_, transport), transport.stream(REQUEST, STALL) as stream:
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
            async with transport.stream(REQUEST, STALL) as stream:
                await anext(stream)
            await asyncio.wait_for(server.hung_up.wait(), 1)

    asyncio.run(run())


def test_a_stream_that_is_read_to_its_last_event_leaves_its_connection_for_the_next_request() -> None:
    connections = 0
    head = HEAD.replace(b"connection: close", b"transfer-encoding: chunked")
    last = b'data: {"type": "message_stop"}\n\n'

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                asked = await reader.readuntil(b"\r\n\r\n")
                length = int(asked.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                writer.write(head + b"%x\r\n%b\r\n" % (len(last), last))
                await writer.drain()
                writer.write(b"0\r\n\r\n")
        writer.close()

    async def run() -> None:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = listening.sockets[0].getsockname()
        transport = Transport(f"http://{host}:{port}", "k" * 64)
        for _ in range(3):
            async with transport.stream(REQUEST, STALL) as stream:
                async for _event in stream:
                    break
        await transport.close()
        listening.close()

    asyncio.run(asyncio.wait_for(run(), 20))
    assert connections == 1


def test_how_the_connection_ends_behind_the_last_event_does_not_matter() -> None:
    event = b'data: {"type": "message_stop"}\n\n'
    head = HEAD.replace(b"connection: close", b"transfer-encoding: chunked")

    async def run() -> None:
        left = asyncio.Event()

        async def answer(writer: asyncio.StreamWriter) -> None:
            writer.write(head + b"%x\r\n%b\r\n" % (len(event), event))
            await left.wait()
            writer.transport.abort()  # before the end of the body

        async with _serving(answer) as (_, transport), transport.stream(REQUEST, STALL) as stream:
            assert await anext(stream) == {"type": "message_stop"}
            left.set()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_whoever_needs_the_client_first_it_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Transport] = []
    really = Transport._load

    def load(self: Transport) -> None:
        made.append(self)
        really(self)

    monkeypatch.setattr(Transport, "_load", load)

    async def run() -> None:
        transport = Transport("http://127.0.0.1:9", "k" * 64)
        await asyncio.gather(*(transport.load() for _ in range(3)))
        assert transport.loaded
        await transport.close()

    asyncio.run(run())
    assert len(made) == 1


def test_cancelling_the_reader_hangs_up() -> None:
    async def run() -> None:
        async with _serving(_sent_open) as (server, transport):
            reading = asyncio.Event()

            async def read() -> None:
                async with transport.stream(REQUEST, STALL) as stream:
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


@pytest.mark.parametrize("code", [408, 409, 429, 500, 503, 529])
def test_what_may_pass_is_said_and_left_to_the_turn(code: int) -> None:
    fault, server = _fault(_refused(code, "overloaded_error", "Overloaded"))
    assert (fault.code, fault.passing, fault.retry_after) == ("overloaded_error", True, 0.001)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("retry-after: 7", 7, 7),
        ("retry-after: -1", 0, 0),
        ("retry-after-ms: 1500\r\nretry-after: 7", 1.5, 1.5),
        ("retry-after-ms: soon\r\nretry-after: 7", 7, 7),
        ("retry-after: Thu, 01 Jan 2099 00:00:00 GMT", 1e9, 1e10),
        ("retry-after: Thu, 01 Jan 1970 00:00:00 GMT", 0, 0),
    ],
)
def test_how_long_the_api_wants_one_to_wait(header: str, least: float, most: float) -> None:
    fault, _ = _fault(_sent(status=f"HTTP/1.1 429 X\r\ncontent-length: 0\r\n{header}\r\n\r\n".encode()))
    assert fault.retry_after is not None
    assert least <= fault.retry_after <= most
    assert ("asks to wait" in str(fault)) == (least >= 1)


@pytest.mark.parametrize("header", ["", "retry-after: soon", "retry-after: nan"])
def test_no_wait_is_made_up(header: str) -> None:
    fault, _ = _fault(_sent(status=f"HTTP/1.1 429 X\r\ncontent-length: 0\r\n{header}\r\n\r\n".encode()))
    assert fault.retry_after is None


@pytest.mark.parametrize(("code", "said", "passing"), [(529, "false", False), (400, "true", True)])
def test_the_apis_own_word_on_retries_counts(code: int, said: str, passing: bool) -> None:
    head = f"HTTP/1.1 {code} X\r\ncontent-length: 0\r\nx-should-retry: {said}\r\n\r\n"
    fault, _ = _fault(_sent(status=head.encode()))
    assert fault.passing is passing


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
            async with transport.stream(REQUEST, STALL):
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


def test_a_silent_stream_is_noticed() -> None:
    fault, _ = _fault(_sent_open, 0.2)
    assert (fault.code, fault.mid_stream) == ("stream_stalled", True)


def test_silence_before_the_answer_is_noticed() -> None:
    async def nothing(writer: asyncio.StreamWriter) -> None:
        del writer

    fault, _ = _fault(nothing, 0.2)
    assert (fault.code, fault.mid_stream) == ("stream_stalled", False)


def test_bytes_that_make_no_event_do_not_count_as_life() -> None:
    async def comments(writer: asyncio.StreamWriter) -> None:
        await _sent_open(writer)
        while not writer.is_closing():
            writer.write(b": still here\n\n")
            await asyncio.sleep(0.01)

    assert _fault(comments, 0.2)[0].code == "stream_stalled"


def test_pings_count_as_life() -> None:
    async def run() -> None:
        async def pings(writer: asyncio.StreamWriter) -> None:
            await _sent_open(writer)
            for _ in range(30):
                await asyncio.sleep(0.02)  # in all more than the silence that is allowed
                writer.write(b'data: {"type": "ping"}\n\n')
            writer.write_eof()

        async with _serving(pings) as (_, transport), transport.stream(REQUEST, 0.4) as stream:
            assert len([event async for event in stream]) == 31

    asyncio.run(asyncio.wait_for(run(), 20))


# Replies that come whole

MESSAGE = {"id": "msg", "type": "message", "role": "assistant", "content": [{"type": "text", "text": "hi"}]}


def _whole(answer: Any, request: Request) -> tuple[Any, Server]:
    async def run() -> tuple[Any, Server]:
        async with _serving(answer) as (server, transport):
            try:
                return await transport.whole(request), server
            except Fault as fault:
                return fault, server

    return asyncio.run(asyncio.wait_for(run(), 20))


def _answered(body: bytes, length: int | None = None) -> Callable[..., Awaitable[None]]:
    size = len(body) if length is None else length
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {size}\r\n\r\n"
    return _sent(status=head.encode() + body)


def test_h18_a_large_reply_can_be_asked_for_whole() -> None:
    """The SDK refuses this without a stream unless it is told how long to wait."""
    request = Request({**BODY, "max_tokens": 128_000})
    reply, server = _whole(_answered(json.dumps(MESSAGE).encode()), request)
    assert reply == MESSAGE
    assert server.requests[0][1] == {**request.body, "stream": False}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<html>no", "stream_broken"),
        (b'{"type": "mess', "stream_broken"),
        (b"[]", "protocol_error"),
        (b'{"type": "message"}', "protocol_error"),
        (b'{"content": [{"text": "no type"}]}', "protocol_error"),
    ],
)
def test_a_whole_reply_that_is_none_is_a_fault(body: bytes, code: str) -> None:
    fault, _ = _whole(_answered(body), REQUEST)
    assert (fault.code, fault.mid_stream) == (code, False)


def test_a_whole_reply_that_is_cut_is_a_fault() -> None:
    fault, _ = _whole(_answered(b'{"type": "message"', 1000), REQUEST)
    assert isinstance(fault, Fault)
    assert fault.code in {"stream_broken", "connection_error"}


def test_a_whole_reply_that_does_not_come_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport_module, "WHOLE", 0.2)

    async def nothing(writer: asyncio.StreamWriter) -> None:
        del writer

    fault, _ = _whole(nothing, REQUEST)
    assert fault.code == "reply_timeout"


def test_a_refusal_of_a_whole_reply_has_the_apis_words() -> None:
    fault, _ = _whole(_refused(429, "rate_limit_error", "slower"), REQUEST)
    assert (fault.code, fault.passing, fault.retry_after) == ("rate_limit_error", True, 0.001)


def test_nothing_is_imported_before_it_is_asked_for() -> None:
    import subprocess
    import sys

    late = ["anthropic", "httpx2", "jsonschema"]
    code = f"import sys, dcops.agent.loop; print([name for name in {late} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout == "[]\n"


def test_limits_of_a_model_are_asked_of_the_models_endpoint() -> None:
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).lower())
        body = json.dumps({"type": "model", "id": "claude-sonnet-5", "max_tokens": 5_000}).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % len(body) + body)
        await writer.drain()
        writer.close()

    async def run() -> Model:
        listening = await asyncio.start_server(serve, "127.0.0.1", 0)
        host, port = listening.sockets[0].getsockname()
        transport = Transport(f"http://{host}:{port}", "k" * 64)
        await transport.load()
        limits = await transport.catalogue.limits("claude-sonnet-5")
        await transport.close()
        listening.close()
        return limits

    limits = asyncio.run(asyncio.wait_for(run(), 20))
    assert limits == replace(model("claude-sonnet-5"), max_output=5_000)
    assert asked[0].startswith(b"get /v1/models/claude-sonnet-5 ")
    assert b"authorization: bearer " + b"k" * 64 in asked[0]


def test_the_first_event_gives_the_next_one_its_whole_time() -> None:
    """However much of the time the head of the reply took."""

    class Response:
        async def aiter_bytes(self) -> AsyncIterator[bytes]:
            yield b'data: {"type": "ping"}\n\n'

    class Limit:
        moments: ClassVar[list[float]] = []

        def reschedule(self, when: float) -> None:
            self.moments.append(when)

    async def test() -> float:
        now = asyncio.get_running_loop().time()
        response: Any = Response()
        limit: Any = Limit()
        async for _ in Transport(None, "k")._events(response, limit, STALL):
            pass
        return now

    assert asyncio.run(test()) + STALL <= Limit.moments[0]
