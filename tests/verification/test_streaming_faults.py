"""The real agent behind a proxy that spoils what it says: each check finds the fault that it is there for."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from dcops.client import Client, Event
from dcops.verification.conversation import RUN_ENDS, kind_of
from dcops.verification.runner import run_suites

Numbered = tuple[int | None, Event]
Spoil = Callable[[Iterator[Numbered]], Iterator[Numbered]]


def without(*kinds: str) -> Spoil:
    return lambda events: (each for each in events if kind_of(each[1]) not in kinds)


def changed(kind: str, change: Callable[[Event], Event]) -> Spoil:
    return lambda events: ((n, change(event) if kind_of(event) == kind else event) for n, event in events)


def until_the_end(events: Iterator[Numbered]) -> Iterator[Numbered]:
    held = []
    for each in events:
        held.append(each)
        if each[1]["type"] in RUN_ENDS:
            yield from held
            held = []


def twice(events: Iterator[Numbered]) -> Iterator[Numbered]:
    for each in events:
        yield each
        yield each


def one_result(events: Iterator[Numbered]) -> Iterator[Numbered]:
    results = 0
    for each in events:
        results += kind_of(each[1]) == "TOOL_CALL_RESULT"
        if kind_of(each[1]) != "TOOL_CALL_RESULT" or results == 1:
            yield each


class Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_any(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        if self.path.endswith(self.server.swallowed):
            self.send_answer(202, b"{}")
            return
        kept = {
            name: value
            for name, value in self.headers.items()
            if name in {"Authorization", "Host", "Idempotency-Key"} - {self.server.dropped}
        }
        kept["Host"] = "localhost" if kept["Host"].startswith("127.") else kept["Host"]
        client = Client(self.server.upstream)
        if self.path.endswith("/events") and self.command == "GET":
            self.stream(client, kept)
            return
        answer = client.request(self.command, self.path, body, headers=kept)
        self.send_answer(answer.status, answer.body)

    do_GET = do_POST = do_DELETE = do_any  # noqa: N815 - the base class names them

    def stream(self, client: Client, headers: dict[str, str]) -> None:
        session = self.path.split("/")[3]
        after = 0 if self.server.dropped == "Last-Event-ID" else int(self.headers["Last-Event-ID"])
        client = Client(self.server.upstream, headers["Authorization"].removeprefix("Bearer "))
        self.send_response(200)
        self.end_headers()
        for seq, event in self.server.spoil(client.stream(session, after)):
            cursor = f"id: {seq}\n" if seq is not None else ""
            try:
                self.wfile.write(f"{cursor}data: {json.dumps(event)}\n\n".encode())
            except OSError:
                return

    def send_answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


class Proxy(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, upstream: str, spoil: Spoil, *, dropped: str = "", swallowed: str = "\0") -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = upstream
        self.spoil = spoil
        self.dropped = dropped
        self.swallowed = swallowed
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


def verify(twin: Any, suite: str, only: str, spoil: Spoil = iter, **faults: str) -> Any:
    with Proxy(twin.target.url, spoil, **faults) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            target = replace(twin.target, url=proxy.url)
            report = run_suites(target, [suite], handlers=twin, only=[only])
        finally:
            proxy.shutdown()
            thread.join()
    assert report.incomplete == ""
    return report.checks[0]


def test_the_proxy_itself_changes_nothing(real_agent: Any) -> None:
    check = verify(real_agent, "streaming", "resume")
    assert (check.outcome, check.message) == ("passed", "")


SPOILED = {
    "text_as_scripted": (changed("TEXT_MESSAGE_CONTENT", lambda e: e | {"delta": "?"}), "text of the answer"),
    "thinking": (without("REASONING_MESSAGE_CONTENT"), "thinking: expected First the fox"),
    "tool_runs": (without("TOOL_CALL_RESULT"), "calls with a result: expected ['call_1'], got []"),
    "output_while_the_tool_runs": (until_the_end, "well before its result"),
    "two_calls": (one_result, "number of results: expected 2, got 1"),
    "unknown_tool": (twice, "calls with a result: expected 1, got 2"),
    "model_error_ends_the_turn": (
        changed("TEXT_MESSAGE_CONTENT", lambda e: e | {"delta": e["delta"].upper()}),
        "expected what the model said before its error",
    ),
    "model_refuses": (changed("RUN_ERROR", lambda e: e | {"type": "RUN_FINISHED"}), "expected RUN_ERROR"),
    "resume": (twice, "sequence numbers of a turn"),
}


@pytest.mark.slow
@pytest.mark.parametrize("only", SPOILED)
def test_a_spoiled_stream_is_found(real_agent: Any, only: str) -> None:
    spoil, words = SPOILED[only]
    check = verify(real_agent, "streaming", only, spoil)
    assert check.outcome == "failed"
    assert words in check.message


@pytest.mark.slow
def test_text_that_comes_only_at_the_end_is_found(real_agent: Any) -> None:
    check = verify(real_agent, "streaming", "text_while_the_model_writes", until_the_end)
    assert check.outcome == "failed"
    assert "expected text while the model still writes within 15 s, got no event" in check.message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("only", "fault", "words"),
    [
        ("resume", {"dropped": "Last-Event-ID"}, "sequence numbers after Last-Event-ID"),
        ("same_key_same_turn", {"dropped": "Idempotency-Key"}, "status 409"),
        ("stop_while_the_model_writes", {"swallowed": "/stop"}, "expected the end of the turn"),
        ("stop_while_a_tool_runs", {"swallowed": "/stop"}, "expected the end of the turn"),
    ],
)
def test_a_request_that_is_not_honoured_is_found(
    real_agent: Any, only: str, fault: dict[str, str], words: str
) -> None:
    check = verify(real_agent, "streaming", only, **fault)
    assert check.outcome == "failed"
    assert words in check.message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("only", "kind", "words"),
    [
        ("streaming_bash", "tool.output", "with use_streaming_bash True: expected seen"),
        ("streaming_thinking", "REASONING_MESSAGE_CONTENT", "with use_streaming_thinking True"),
    ],
)
def test_a_toggle_without_effect_is_found(real_agent: Any, only: str, kind: str, words: str) -> None:
    check = verify(real_agent, "toggles", only, without(kind))
    assert check.outcome == "failed"
    assert words in check.message


@pytest.mark.slow
def test_a_history_that_the_model_refuses_is_found(real_agent: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = real_agent.model_requests
    monkeypatch.setattr(
        real_agent, "model_requests", lambda: [each | {"problems": ["bad roles"]} for each in requests()]
    )
    check = verify(real_agent, "streaming", "history_accepted")
    assert check.outcome == "failed"
    assert "bad roles" in check.message
