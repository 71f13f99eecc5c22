"""Clients that never stop asking, and tell of everything that went wrong."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dcops.client import Client, Event

PAUSE = 0.01  # between two requests of one client
UPLOAD_PAUSE = 0.05  # between two pieces of a request
SILENCE = 40.0


@dataclass
class Stream:
    """One reader of a session's events, across connections.

    Attributes:
        seen: Sequence number and event in the order of arrival, from all connections.
        drains: Connections that ended with the notice that the instance goes away.
        cuts: Why any other connection ended.
    """

    session: str
    seen: list[tuple[int, Event]] = field(default_factory=list)
    drains: int = 0
    cuts: list[str] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.seen[-1][0] if self.seen else 0


@dataclass
class Traffic:
    """Threads that use an agent until they are told to stop.

    Attributes:
        answered: Number of requests that were answered with a 2xx.
        failed: What happened to the others.
    """

    url: str
    token: str
    answered: int = 0
    failed: list[str] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _sockets: list[socket.socket] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def post(self, *, keep_alive: bool) -> None:
        """Add a client that makes one session after another."""
        self._start(self._post_loop, keep_alive)

    def upload(self) -> None:
        """Add a client that sends its requests slowly, piece by piece."""
        self._start(self._upload_loop)

    def stream(self, session: str) -> Stream:
        """Add a reader of a session's events."""
        stream = Stream(session)
        self.streams.append(stream)
        self._start(self._stream_loop, stream)
        return stream

    def turns(self, session: str, text: str) -> None:
        """Add a client that starts a turn whenever the session's last one has ended."""
        self._start(self._turn_loop, session, text)

    @contextmanager
    def running(self) -> Iterator[Traffic]:
        """Within it the clients ask; behind it all have ended."""
        try:
            yield self
        finally:
            self.finish_turns()
            self._stopping.set()
            for open_ in self._sockets:
                with suppress(OSError):
                    open_.shutdown(socket.SHUT_RDWR)
            for thread in self._threads:
                thread.join(SILENCE)

    def finish_turns(self) -> None:
        """Let the turns that run end, and start no more."""
        self._stopping.set()
        for thread in self._threads:
            if thread.name.startswith("_turn_loop"):
                thread.join(SILENCE)

    def _start(self, loop: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=loop, args=arguments, name=loop.__name__, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        return http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=SILENCE)

    def _ask(
        self, connection: http.client.HTTPConnection, path: str, body: dict[str, Any], **headers: str
    ) -> dict[str, Any]:
        headers |= {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        connection.request("POST", path, json.dumps(body), headers)
        return self._answer(connection)

    def _answer(self, connection: http.client.HTTPConnection) -> dict[str, Any]:
        response = connection.getresponse()
        text = response.read()
        if not 200 <= response.status < 300:
            raise OSError(f"status {response.status}: {text[:200]!r}")
        with self._lock:
            self.answered += 1
        document: dict[str, Any] = json.loads(text)
        return document

    def _post_loop(self, keep_alive: bool) -> None:
        connection = self._connect()
        while not self._stopping.wait(PAUSE):
            try:
                self._ask(connection, "/v1/sessions", {"synthetic": True})
                if keep_alive:
                    continue
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{time.time():.3f} keep_alive={keep_alive}: {error!r}")
            connection.close()
            connection = self._connect()
        connection.close()

    def _upload_loop(self) -> None:
        body = json.dumps({"synthetic": True}).encode().ljust(300)
        while not self._stopping.wait(PAUSE):
            connection = self._connect()
            try:
                connection.putrequest("POST", "/v1/sessions")
                connection.putheader("Authorization", f"Bearer {self.token}")
                connection.putheader("Content-Type", "application/json")
                connection.putheader("Content-Length", str(len(body)))
                connection.endheaders()
                for start in range(0, len(body), 16):
                    connection.send(body[start : start + 16])
                    time.sleep(UPLOAD_PAUSE)
                self._answer(connection)
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{time.time():.3f} upload: {error!r}")
            connection.close()

    def _turn_loop(self, session: str, text: str) -> None:
        reader = next(stream for stream in self.streams if stream.session == session)
        while not self._stopping.wait(PAUSE):
            connection = self._connect()
            try:
                turn = self._ask(connection, f"/v1/sessions/{session}/turns", {"input": text})["turn"]
            except (OSError, http.client.HTTPException) as error:
                self.failed.append(f"{time.time():.3f} turn: {error!r}")
                continue
            finally:
                connection.close()
            self._await_end(reader, turn)

    def _await_end(self, reader: Stream, turn: str) -> None:
        deadline = time.monotonic() + SILENCE
        while time.monotonic() < deadline:
            if any(ends(event, turn) for _, event in reader.seen[-50:]):
                return
            time.sleep(PAUSE)
        self.failed.append(f"{time.time():.3f} turn {turn} has no end")

    def _stream_loop(self, stream: Stream) -> None:
        while not self._stopping.is_set():
            connection = self._connect()
            try:
                connection.connect()
                self._sockets.append(connection.sock)
                ended = self._read(connection, stream)
            except (OSError, ValueError, http.client.HTTPException) as error:
                ended = repr(error)
            connection.close()
            if self._stopping.is_set():
                return
            if ended == "drain":
                stream.drains += 1
            else:
                stream.cuts.append(f"{time.time():.3f} after event {stream.last}: {ended}")

    def _read(self, connection: http.client.HTTPConnection, stream: Stream) -> str:
        """Read one connection to its end; returns why it ended."""
        headers = {"Authorization": f"Bearer {self.token}", "Last-Event-ID": str(stream.last)}
        connection.request("GET", f"/v1/sessions/{stream.session}/events", headers=headers)
        response = connection.getresponse()
        if response.status != 200:
            return f"status {response.status}"
        seq, ended = 0, "no drain notice"
        for line in response:
            name, _, value = line.decode().rstrip("\r\n").partition(": ")
            if name == "id":
                seq = int(value)
            elif name == "data":
                event = json.loads(value)
                if event.get("name") == "drain":
                    ended = "drain"
                else:
                    stream.seen.append((seq, event))
        return ended


def ends(event: Event, turn: str) -> bool:
    return event["type"] == "RUN_ERROR" or (event["type"] == "RUN_FINISHED" and event["runId"] == turn)


def transcript(client: Client, session: str) -> list[tuple[int, Event]]:
    """All events of a session, as the journal has them."""
    last = int(client.session(session)["last_seq"])
    told: list[tuple[int, Event]] = []
    for seq, event in client.stream(session) if last else ():
        if seq is not None:
            told.append((seq, event))
        if seq == last:
            break
    return told
