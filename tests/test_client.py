from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from dcops.client import Client, Response, refusal
from dcops.errors import NotFound, PreconditionMissing

Answer = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    """Takes one answer after the other from its server and notes what was asked."""

    protocol_version = "HTTP/1.1"
    server: Server

    def handle_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((f"{self.command} {self.path}", dict(self.headers), self.rfile.read(length)))
        self.close_connection = True
        self.server.answers.pop(0)(self)

    do_GET = do_POST = handle_any  # noqa: N815 - the base class names them

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: Any) -> None:
        pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[Answer] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def answer(status: int, document: Any, **headers: str) -> Answer:
    def send(handler: Handler) -> None:
        body = json.dumps(document).encode() if document is not None else b""
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return send


def stream(*frames: str) -> Answer:
    """A chunked event stream; its connection is cut without an end when the last frame is CUT."""

    def send(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "text/event-stream")
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for frame in frames:
            if frame == "CUT":
                return
            data = frame.encode()
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        handler.wfile.write(b"0\r\n\r\n")

    return send


def frame(seq: int | None, **event: Any) -> str:
    return (f"id: {seq}\n" if seq is not None else "") + f"data: {json.dumps(event)}\n\n"


DRAIN = frame(None, type="CUSTOM", name="drain", value={})


def test_a_request_carries_token_route_and_body(server: Server) -> None:
    server.answers = [answer(200, {"id": "s1"})]
    client = Client(server.url, "secret", instance="agent-1", operator="0" * 64)
    assert client.create_session({"max_tokens": 16}, synthetic=True) == "s1"
    asked, headers, body = server.asked[0]
    assert asked == "POST /v1/sessions"
    assert headers["Authorization"] == "Bearer secret"
    assert headers["X-Dcops-Instance"] == "agent-1"
    assert headers["Proxy-Authorization"] == "0" * 64
    assert json.loads(body) == {"toggles": {"max_tokens": 16}, "synthetic": True}


def test_a_plain_client_sends_no_operators_headers(server: Server) -> None:
    server.answers = [answer(200, {"release": "r"})]
    assert Client(server.url).version() == {"release": "r"}
    assert not {"Authorization", "X-Dcops-Instance", "Proxy-Authorization"} & server.asked[0][1].keys()


def test_another_host(server: Server) -> None:
    server.answers = [answer(403, {})]
    assert Client(server.url, host="example.org").request("GET", "/").status == 403
    assert server.asked[0][1]["Host"] == "example.org"


def test_a_turn_carries_its_key(server: Server) -> None:
    server.answers = [answer(202, {"turn": "t1"})]
    assert Client(server.url).start_turn("a/b", "hello", "key-1") == "t1"
    asked, headers, body = server.asked[0]
    assert asked == "POST /v1/sessions/a%2Fb/turns"
    assert headers["Idempotency-Key"] == "key-1"
    assert json.loads(body) == {"input": "hello"}


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "unix:/no/such/socket", "http://no-such-host.invalid"])
def test_nothing_there(url: str) -> None:
    client = Client(url, timeout=5)
    with pytest.raises(PreconditionMissing) as caught:
        client.instance()
    assert caught.value.code == "DC-UNREACHABLE"
    assert url in caught.value.what
    assert caught.value.why
    assert not client.healthy()
    ready, reasons = client.ready()
    assert not ready
    assert reasons


def test_an_answer_that_is_cut_is_no_answer(server: Server) -> None:
    def cut(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b"{")

    server.answers = [cut]
    with pytest.raises(PreconditionMissing) as caught:
        Client(server.url).instance()
    assert caught.value.code == "DC-UNREACHABLE"


def test_not_ready_tells_its_reasons(server: Server) -> None:
    server.answers = [answer(503, {"reasons": ["the SDK is loading"]}), answer(200, {"reasons": []})]
    assert Client(server.url).ready() == (False, ["the SDK is loading"])
    assert Client(server.url).ready() == (True, [])


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, PreconditionMissing, "DC-UNAUTHORIZED"),
        (403, PreconditionMissing, "DC-FORBIDDEN"),
        (404, NotFound, "DC-NOT-FOUND"),
        (409, PreconditionMissing, "DC-TURN-RUNNING"),
        (429, PreconditionMissing, "DC-BUSY"),
        (503, PreconditionMissing, "DC-UNAVAILABLE"),
        (500, PreconditionMissing, "DC-ANSWER"),
    ],
)
def test_a_refusal_tells_what_the_agent_said(
    server: Server, status: int, kind: type[Exception], code: str
) -> None:
    error = {"code": "x", "message": "It said no.", "do": "Ask later.", "turn": "t9"}
    server.answers = [answer(status, {"error": error}, **{"Retry-After": "2"})]
    with pytest.raises(kind) as caught:
        Client(server.url).start_turn("s", "hello")
    said: Any = caught.value
    assert (said.code, said.why, said.do) == (code, "It said no.", "Ask later.")
    assert said.detail["status"] == status
    assert said.detail["retry_after"] == 2.0
    assert said.detail["error"]["turn"] == "t9"


@pytest.mark.parametrize(
    ("told", "code"), [("turns_off", "DC-TURNS-OFF"), ("DC-MAINTENANCE", "DC-MAINTENANCE")]
)
def test_a_decision_of_the_operators_is_told_from_a_fault(server: Server, told: str, code: str) -> None:
    server.answers = [answer(503, {"error": {"code": told, "message": "Not now.", "do": "Wait."}})]
    with pytest.raises(PreconditionMissing) as caught:
        Client(server.url).start_turn("s", "hello")
    assert caught.value.code == code


def test_an_answer_that_is_no_json(server: Server) -> None:
    server.answers = [
        lambda handler: handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnope")
    ]
    with pytest.raises(PreconditionMissing, match="not JSON: 'nope'"):
        Client(server.url).instance()


def test_a_stream_is_parsed_as_the_standard_says(server: Server) -> None:
    first = ': comment\nretry: 250\n\nid: 1\r\ndata: {"a":\r\nda'
    second = 'ta: 1}\r\n\r\nevent: x\nid: 2\ndata:{"b": "ü"}\n\ndata: {"cut'
    server.answers = [stream(first, second)]
    assert list(Client(server.url).stream("s")) == [(1, {"a": 1}), (2, {"b": "ü"})]


def test_events_go_on_after_a_drain_and_a_cut_with_each_exactly_once(server: Server) -> None:
    server.answers = [
        stream(frame(1, n=1), frame(2, n=2), DRAIN),
        stream(frame(3, n=3), "id: 4\ndata: {", "CUT"),
        answer(502, {}),
        stream(frame(4, n=4)),
    ]
    events = Client(server.url).events("s")
    assert [next(events) for _ in range(4)] == [(n, {"n": n}) for n in (1, 2, 3, 4)]
    assert [headers["Last-Event-ID"] for _, headers, _ in server.asked] == ["0", "2", "3", "3"]


def test_events_give_up_after_the_attempts_that_brought_nothing(server: Server) -> None:
    server.answers = [stream(DRAIN), stream()]
    with pytest.raises(PreconditionMissing) as caught:
        list(Client(server.url).events("s", attempts=2))
    assert caught.value.code == "DC-UNREACHABLE"
    assert len(server.asked) == 2


def test_events_of_no_session(server: Server) -> None:
    server.answers = [answer(404, {"error": {"message": "There is no session s."}})]
    with pytest.raises(NotFound) as caught:
        next(Client(server.url).events("s"))
    assert caught.value.why == "There is no session s."


def test_it_does_not_import_what_it_rarely_needs() -> None:
    slow = {"http.client", "ssl", "httpx2", "anthropic"}
    program = f"import sys, dcops.client; sys.exit(bool({slow} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[1])
    assert done.returncode == 0


def test_a_404_of_something_else_than_the_agent_is_said_in_words() -> None:
    error = refusal(Response(404, {}, b"<!doctype html><title>404</title>"), "GET /v1/sessions")
    assert "html" not in error.why
    assert "sessions" in error.do
