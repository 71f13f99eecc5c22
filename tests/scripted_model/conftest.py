"""A real server process, and what tests do with it."""

from __future__ import annotations

import hashlib
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEADERS = {"anthropic-version": "2026-10-21"}
HELLO = {"model": "claude-sonnet-5", "max_tokens": 1000, "messages": [{"role": "user", "content": "hello"}]}

HTTP = httpx2.Client(timeout=30)


@dataclass
class Caller:
    """One caller of the server under test, with a key of its own."""

    url: str
    key: str = field(default_factory=lambda: secrets.token_hex(32))

    @property
    def path(self) -> str:
        return f"{self.url}/scripts/{hashlib.sha256(self.key.encode()).hexdigest()}"

    @property
    def headers(self) -> dict[str, str]:
        return HEADERS | {"x-api-key": self.key}

    def script(self, *replies: dict[str, Any], after: str = "assistant") -> None:
        response = HTTP.put(self.path, json={"replies": list(replies), "after": after})
        assert response.status_code == 200, response.text

    def state(self) -> dict[str, Any]:
        return HTTP.get(self.path).raise_for_status().json()

    def requests(self) -> list[dict[str, Any]]:
        return HTTP.get(f"{self.path}/requests").raise_for_status().json()["requests"]

    def open_gate(self, name: str) -> None:
        HTTP.post(f"{self.path}/gates/{name}").raise_for_status()

    def post(self, **changes: Any) -> httpx2.Response:
        return HTTP.post(f"{self.url}/v1/messages", headers=self.headers, json=HELLO | changes)


@dataclass
class Process:
    """A started server."""

    process: subprocess.Popen[str]
    address: str

    @property
    def url(self) -> str:
        return self.address.replace("tcp:", "http://")


def start(*arguments: str, **environment: str) -> Process:
    """Start a server and wait until it says where it listens."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dcops.scripted_model", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    assert process.stdout
    line = process.stdout.readline()
    assert line.startswith("listening on "), process.communicate()
    return Process(process, line.split()[-1])


def eventually(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "the condition did not come to hold in time"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def server() -> Iterator[Process]:
    started = start("--listen", "tcp:127.0.0.1:0", DCOPS_RELEASE="r1", DCOPS_INSTANCE="i1")
    yield started
    started.process.terminate()
    assert started.process.wait(10) == 0


@pytest.fixture
def caller(server: Process) -> Caller:
    return Caller(server.url)
