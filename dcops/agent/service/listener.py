"""The socket an instance listens on."""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from ..settings import Address

BACKLOG = 2048


class Listener:
    """A bound, listening socket; connections wait in it until somebody accepts them.

    Args:
        address: Where to listen. A socket file that is left over there is replaced.

    Raises:
        OSError: The address is taken or may not be used.
    """

    def __init__(self, address: Address) -> None:
        try:
            self.socket = _unix(address.path) if address.path else _tcp(address.host, address.port)
            self.socket.listen(BACKLOG)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: it would listen on {address}") from error
        self.url = str(address)
        if address.path is None:
            self.url = f"http://{address.url_host}:{self.socket.getsockname()[1]}"
        self._path = address.path
        self._inode = _inode(address.path) if address.path else None

    def is_lost(self) -> bool:
        """Whether nobody can reach the socket any more, because its path was removed or replaced."""
        return self._path is not None and _inode(self._path) != self._inode

    def close(self) -> None:
        """Stop listening, and remove the socket file unless it is another's by now."""
        if self._path is not None and not self.is_lost():
            self._path.unlink(missing_ok=True)
        self.socket.close()


def _unix(path: Path) -> socket.socket:
    if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX)
    # The mask, because between bind and a later chmod the socket would be open to everybody.
    mask = os.umask(0o117)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    return listener


def _tcp(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    return listener


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
