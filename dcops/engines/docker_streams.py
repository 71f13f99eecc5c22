"""Streams of a command in a container: framed (stream, three bytes, size), or raw where it has a terminal.

The framing is read here: the SDK's helpers poll for each byte.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 65536


def frames(connection: Any, *, seconds: float | None = None) -> Iterator[tuple[int, bytes]]:
    """Number of the stream (1 or 2) and bytes, until the command ends.

    Raises:
        TimeoutError: It did not end within ``seconds``.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        connection.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
        header = exactly(connection, 8)
        if len(header) < 8:
            return
        stream, size = struct.unpack(">BxxxL", header)
        yield stream, exactly(connection, size)


def raw(connection: Any) -> Iterator[tuple[int, bytes]]:
    """The one stream of a terminal."""
    connection.settimeout(None)
    while data := connection.recv(BLOCK):
        yield 1, data


def exactly(connection: Any, size: int) -> bytes:
    """So many bytes, or fewer when the stream ends."""
    data = bytearray()
    while len(data) < size and (more := connection.recv(size - len(data))):
        data += more
    return bytes(data)
