"""JSON lines between the process that verifies and the process that runs the suites."""

from __future__ import annotations

import json
import select
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

VARIABLE = "DCOPS_VERIFICATION_FD"
"""Environment variable with the number of the inherited socket, in the suites' process."""

Message = dict[str, Any]


class Channel:
    """One end of a connected stream socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()

    def send(self, message: Message) -> None:
        """Send one message.

        Raises:
            OSError: The other side is gone.
        """
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, timeout: float | None = None) -> Message | None:
        """Wait for one message.

        Args:
            timeout: Seconds to wait; None waits for ever.

        Returns:
            The message, None when the other side is gone; a line that it left unfinished is dropped.

        Raises:
            TimeoutError: Nothing came in time.
            ValueError: What came is no JSON object.
        """
        while (end := self._buffer.find(b"\n")) < 0:
            if not select.select([self._socket], [], [], timeout)[0]:
                raise TimeoutError
            try:
                piece = self._socket.recv(1 << 16)
            except ConnectionResetError:
                return None
            if not piece:
                return None
            self._buffer += piece
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError(f"not a JSON object: {line[:80]!r}")  # noqa: TRY004 - the data is wrong, not the program
        return message
