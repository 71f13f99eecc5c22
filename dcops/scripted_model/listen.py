"""Listening sockets from addresses like `unix:/run/model.sock` and `tcp:127.0.0.1:8000`."""

from __future__ import annotations

import socket
from pathlib import Path


class AddressError(ValueError):
    """An address that cannot be listened on as it is written."""


def listen(address: str) -> socket.socket:
    """A listening socket; port 0 takes a free port, and a stale socket file is replaced.

    Raises:
        AddressError: the address has neither form.
        OSError: the address is taken or not allowed.
    """
    kind, _, rest = address.partition(":")
    if kind == "unix" and rest:
        Path(rest).unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(rest)
    elif kind == "tcp" and rest.rpartition(":")[2].isdigit():
        host, _, port = rest.rpartition(":")
        bare = host.strip("[]")
        family = socket.AF_INET6 if ":" in bare else socket.AF_INET
        # asyncio switches Nagle's algorithm off only where the protocol is named: without it 40 ms a reply
        listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((bare, int(port)))
    else:
        raise AddressError(f"cannot listen on {address!r}: write unix:/PATH or tcp:HOST:PORT")
    listener.listen(128)
    return listener


def written(listener: socket.socket) -> str:
    """The address of a listening socket, as `listen` takes it."""
    name = listener.getsockname()
    return f"unix:{name}" if isinstance(name, str) else f"tcp:{name[0]}:{name[1]}"
