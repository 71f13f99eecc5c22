"""A project on disk, the command line as a process, and an agent that says what a test tells it to."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from dcops.core.deployment import Revision, ToggleState
from dcops.core.plan import STEPS, Plan
from dcops.records.local import EngineChoice, LocalState

Dcops = Callable[..., subprocess.CompletedProcess[str]]
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two environments, the second one protected, of the packaged agent."""
    for name, text in {
        "dev": "engine: process\nmodel: scripted\n",
        "production": "engine: process\nmodel: scripted\nprotected: true\n",
    }.items():
        directory = tmp_path / "environments" / name
        directory.mkdir(parents=True)
        (directory / "environment.yaml").write_text(text)
        (directory / "toggles.yaml").write_text("")
    return tmp_path


def variables(project: Path, **more: str) -> dict[str, str]:
    """The environment of a dcops process: nothing of the tester's that could change what it says."""
    kept = {
        name: os.environ[name] for name in ("PATH", "LANG", "COVERAGE_PROCESS_START") if name in os.environ
    }
    state = {"HOME": str(project), "XDG_CACHE_HOME": str(project / "cache")}
    return kept | state | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"} | more


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "dcops.cli.main", *words]


@pytest.fixture
def dcops(project: Path) -> Dcops:
    def call(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*words),
            cwd=project,
            env=variables(project, **more),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


class Agent(ThreadingHTTPServer):
    """As much of the agent's API as the command line uses.

    Attributes:
        asked: Method and path of each request.
        events: What the stream sends, one after the other; None closes it.
        refusals: Statuses that the next turns are refused with.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.refusals: list[int] = []
        self.seq = 0

    def turn(self, *events: dict[str, Any], ending: dict[str, Any] | None = None) -> None:
        """Queue a turn's events; without an ending it goes on until the test queues one."""
        self.events.put({"type": "RUN_STARTED", "threadId": "s1", "runId": "t1"})
        for event in events:
            self.events.put(event)
        if ending is not None:
            self.events.put(ending)


class Handler(BaseHTTPRequestHandler):
    server: Agent

    def do_GET(self) -> None:
        self.server.asked.append(f"GET {self.path}")
        if self.path.endswith("/events"):
            self._stream()
        elif self.path == "/v1/sessions":
            self._json(200, [{"id": "s1", "created": "2026-11-20T00:00:00Z", "title": "hi", "running": None}])
        else:
            self._json(200, {"id": "s1", "last_seq": self.server.seq})

    def do_POST(self) -> None:
        self.server.asked.append(f"POST {self.path}")
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path.endswith("/turns") and self.server.refusals:
            self._json(self.server.refusals.pop(0), {"error": {"code": "warm", "message": "going away"}})
        elif self.path.endswith("/turns"):
            self._json(202, {"turn": "t1"})
        elif self.path.endswith("/stop"):
            self.server.events.put(FINISHED | {"outcome": {"type": "cancelled"}})
            self._json(202, {})
        else:
            self._json(201, {"id": "s1"})

    def _stream(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        while (event := self.server.events.get()) is not None:
            self.server.seq += 1
            self.wfile.write(f"id: {self.server.seq}\ndata: {json.dumps(event)}\n\n".encode())
            self.wfile.flush()
            if event["type"] == "RUN_ERROR" or (event["type"], event.get("runId")) == ("RUN_FINISHED", "t1"):
                return  # else this stream would take the events of the next one

    def _json(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: Any) -> None:
        pass


FINISHED: dict[str, Any] = {
    "type": "RUN_FINISHED",
    "threadId": "s1",
    "runId": "t1",
    "outcome": {"type": "success"},
}


def text(delta: str) -> dict[str, Any]:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m1", "delta": delta}


def custom(name: str, **value: Any) -> dict[str, Any]:
    return {"type": "CUSTOM", "name": name, "value": value}


def tool(call: str, name: str, arguments: str) -> Sequence[dict[str, Any]]:
    return (
        {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": name},
        {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": arguments},
        {"type": "TOOL_CALL_END", "toolCallId": call},
        custom("tool.started", call=call),
    )


@pytest.fixture
def agent(project: Path) -> Iterator[Agent]:
    """Serves where the project's dev environment is said to be deployed."""
    with Agent() as server:
        port = server.server_address[1]
        LocalState(project / ".dcops" / "dev").decide(EngineChoice("process", port, "a test says so"))
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.events.put(None)
        server.shutdown()


def make_plan(environment: str = "dev", steps: tuple[str, ...] = ("start", "verify", "switch")) -> Plan:
    revision = Revision(
        release="a" * 64,
        build="b" * 64,
        name="agent",
        command=("python",),
        roles=True,
        schema={},
        configuration={},
        toggles={},
    )
    return Plan(
        id="deploy-1",
        kind="deploy",
        environment=environment,
        engine="process",
        revision=revision,
        current=None,
        before=ToggleState(),
        candidate="a-1",
        twin="twin-1",
        based_on="",
        steps=tuple(STEPS[step] for step in steps),
        suites=("smoke", "contract"),
        changes=("release    (none) -> aaaaaaaaaaaa",),
    )
