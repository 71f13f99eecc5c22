"""A model that costs next to nothing: prepared replies, played on a clock from plain sockets.

    python benchmarks/common/player.py REPLIES.json

`REPLIES.json` is `{name: [reply, ...]}`, a reply a list of `[second, text]`: what is sent when. The name is
the first part of a request's path. The first of its replies answers the user, the last one results of tools.
Every `STAMP` in a text becomes the moment of `time.monotonic` at which it is sent, which all processes share.
`GET /<name>/log` tells of each play so far when each part of it was sent, and when it was closed.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

if TYPE_CHECKING:
    from collections.abc import Iterator

STAMP = "@" * 16
TICK = 0.001
_STAMP = STAMP.encode()
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_AT_ONCE = 65536  # bytes that are written before the reader has taken the earlier ones

Reply = list[tuple[float, str]]


@dataclass
class Played:
    """One reply on its way: what is left of it, and when its parts went."""

    parts: list[tuple[float, bytes]]
    connection: Connection
    began: float
    next: int = 0
    sent: list[float] = field(default_factory=list)
    closed: float | None = None

    @property
    def due(self) -> float:
        return self.began + self.parts[self.next][0]

    def send(self) -> bool:
        """Write the next part; whether more are to come."""
        now = time.monotonic()
        data = self.parts[self.next][1]
        if _STAMP in data:
            data = data.replace(_STAMP, b"%016.5f" % now)
        head = b"" if self.sent else _HEAD
        self.connection.transport.write(b"%s%x\r\n%s\r\n" % (head, len(data), data))
        self.sent.append(now)
        self.next += 1
        return self.next < len(self.parts)


class Player:
    """Plays every reply that is due; one clock for all connections."""

    def __init__(self, replies: dict[str, list[Reply]]) -> None:
        self._replies = {
            name: [[(at, text.encode()) for at, text in reply] for reply in several]
            for name, several in replies.items()
        }
        self.played: dict[str, list[Played]] = {name: [] for name in replies}
        self._due: list[tuple[float, int, Played]] = []
        self._order = itertools.count()

    def play(self, name: str, which: int, connection: Connection) -> Played:
        played = Played(self._replies[name][which], connection, time.monotonic())
        self.played[name].append(played)
        self._push(played)
        return played

    def _push(self, played: Played) -> None:
        heapq.heappush(self._due, (played.due, next(self._order), played))

    async def run(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            while self._due and self._due[0][0] <= now:
                self._advance(heapq.heappop(self._due)[2], now)

    def _advance(self, played: Played, now: float) -> None:
        transport = played.connection.transport
        while not transport.is_closing():
            if transport.get_write_buffer_size() > _AT_ONCE:
                heapq.heappush(self._due, (now + TICK, next(self._order), played))
                return
            if not played.send():
                transport.write(b"0\r\n\r\n")
                return
            if played.due > now:
                self._push(played)
                return


class Connection(asyncio.Protocol):
    """One connection of a client: requests in, replies out."""

    def __init__(self, player: Player) -> None:
        self._player = player
        self._buffer = bytearray()
        self._last: Played | None = None
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.transport = transport

    def connection_lost(self, _error: Exception | None) -> None:
        if self._last is not None and self._last.closed is None:
            self._last.closed = time.monotonic()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        if len(body) < length:
            return
        del self._buffer[: len(head) + 4 + length]
        name = head.split(b" ")[1].split(b"/")[1].decode()
        if head.split(b" ")[1].endswith(b"/log"):
            self._tell(name)
        elif head.startswith(b"GET"):  # what the models endpoint would say
            self.transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
        else:
            self._last = self._player.play(name, -1 if b'"tool_result"' in body else 0, self)

    def _tell(self, name: str) -> None:
        plays = [{"sent": each.sent, "closed": each.closed} for each in self._player.played.get(name, [])]
        data = json.dumps(plays).encode()
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data))


async def serve(replies: dict[str, list[Reply]]) -> None:
    player = Player(replies)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(player), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await player.run()


# From the outside


@dataclass(frozen=True)
class Model:
    """A running player."""

    port: int

    def url(self, name: str) -> str:
        """The base URL of the API whose replies have that name."""
        return f"http://127.0.0.1:{self.port}/{name}"

    def log(self, name: str) -> list[dict[str, Any]]:
        """What was played under the name: `sent`, a moment for each part, and `closed`, one or None."""
        with urlopen(f"{self.url(name)}/log") as answer:
            return list(json.load(answer))


@contextmanager
def playing(directory: Path, replies: dict[str, list[Reply]], *prefix: str) -> Iterator[Model]:
    """A player as a process of its own; `prefix` is a command that starts it, like `taskset`."""
    path = directory / "replies.json"
    path.write_text(json.dumps(replies))
    command = [*prefix, sys.executable, __file__, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield Model(int(process.stdout.readline()))
        finally:
            process.kill()


if __name__ == "__main__":
    with Path(sys.argv[1]).open() as file:
        asyncio.run(serve(json.load(file)))
