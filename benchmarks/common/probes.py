"""Clients that ask which release answers, every few milliseconds, and remember when it did."""

from __future__ import annotations

import json
import socket
import threading
import time
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from types import TracebackType

TIMEOUT_SECONDS = 1.0


class Probes:
    """One `GET` again and again by several clients, each request on a connection of its own.

    Args:
        url: `http://host:port`.
        token: Bearer token.
        path: What is asked for; answers of another one than `/version` name no release.
        clients: How many ask.
        every: Seconds from one request of a client to its next one.
    """

    def __init__(
        self, url: str, token: str, path: str = "/version", *, clients: int = 1, every: float = 0.02
    ) -> None:
        self._every = every
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._request = (
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {token}\r\n"
            "Connection: close\r\n\r\n"
        ).encode()
        self._stopping = threading.Event()
        self._answers: list[tuple[float, str]] = []
        self._threads = [threading.Thread(target=self._ask_on, daemon=True) for _ in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def first(self, release: str, *, after: float, timeout: float = 60.0) -> float:
        """When a release first answered after a moment of `time.perf_counter`; waits for it.

        Raises:
            TimeoutError: It did not answer in time.
        """
        deadline = time.perf_counter() + timeout
        while time.perf_counter() < deadline:
            for at, answered in list(self._answers):
                if at > after and answered == release:
                    return at
            time.sleep(self._every)
        raise TimeoutError(f"release {release[:12]} did not answer within {timeout:g} s")

    def longest_silence(self, began: float, ended: float) -> float:
        """Seconds between two answers, by whichever client, at most, in this span."""
        inside = sorted(at for at, _ in list(self._answers) if began <= at <= ended)
        moments = [began, *inside, ended]
        return max(later - earlier for earlier, later in pairwise(moments))

    def _ask_on(self) -> None:
        due = time.perf_counter()
        while not self._stopping.wait(max(0.0, due - time.perf_counter())):
            # What a slow answer has made late is not caught up: that would be a burst.
            due = max(due, time.perf_counter()) + self._every
            with suppress(OSError, ValueError):
                release = self._ask()
                self._answers.append((time.perf_counter(), release))

    def _ask(self) -> str:
        with socket.create_connection(self._address, timeout=TIMEOUT_SECONDS) as connection:
            connection.sendall(self._request)
            answer = b""
            while more := connection.recv(65536):
                answer += more
        head, _, body = answer.partition(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise ValueError(head[:40])
        return str(json.loads(body).get("release", ""))
