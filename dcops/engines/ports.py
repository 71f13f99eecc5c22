"""Free ports, and who holds one that is taken."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Iterator

# Below the range that outgoing connections take theirs from: nothing else wanders in while we are down.
FIRST, LAST = 20000, 32000
LISTENING = "0A"  # as /proc/net/tcp says it


def free_port(seed: str, bind: str = "127.0.0.1") -> int:
    """A port that nothing listens on; the same one for the same seed as long as it is free."""
    start = int(hashlib.sha256(seed.encode()).hexdigest()[:8], 16)
    for step in range(LAST - FIRST):
        port = FIRST + (start + step) % (LAST - FIRST)
        if _try_bind(bind, port) is None:
            return port
    raise PreconditionMissing(
        "DC-PORT-NONE", f"no free port between {FIRST} and {LAST}", do="set `port` in environment.yaml"
    )


def require_free(bind: str, port: int, *, do: str = "set another `port` in environment.yaml") -> None:
    """Bind the port for a moment: two Caddys would share it without an error.

    Args:
        bind: Address, IPv4 or IPv6 without brackets.
        port: Above 0.
        do: What helps besides stopping the program that has it.

    Raises:
        PreconditionMissing: It is taken (the message names the owner), or may not be bound.
    """
    error = _try_bind(bind, port)
    if error is None:
        return
    if error.errno == errno.EADDRINUSE:
        holder = owner(port)
        raise PreconditionMissing(
            "DC-PORT-TAKEN",
            f"port {port} on {bind} is taken",
            why=f"{holder} listens on it" if holder else "another program listens on it",
            do=f"stop that program, or {do}",
            port=port,
            owner=holder,
        )
    raise _refused(bind, port, error)


def require_permitted(bind: str, port: int) -> None:
    """Refuse a port that this user may not listen on; whether it is free is not asked.

    Raises:
        PreconditionMissing: With what the administrator can do.
    """
    error = _try_bind(bind, port)
    if error is not None and error.errno == errno.EACCES:
        raise _refused(bind, port, error)


def _refused(bind: str, port: int, error: OSError) -> PreconditionMissing:
    do = "set another address or port in environment.yaml"
    if error.errno == errno.EACCES:
        # No capability on the binary: it would then outlive its keeper, as the kernel takes its death signal.
        do = f"let users have it: sudo sysctl net.ipv4.ip_unprivileged_port_start={port}; or set another port"
    return PreconditionMissing(
        "DC-PORT-REFUSED",
        f"cannot listen on {bind}:{port}",
        why=error.strerror or str(error),
        do=do,
        port=port,
    )


def listens(bind: str, port: int) -> bool:
    """Whether somebody answers there; an address for all interfaces is asked on loopback."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104 - compared, not bound
    try:
        socket.create_connection((host, port), timeout=1).close()
    except OSError:
        return False
    return True


def owner(port: int) -> str:
    """``pid 123 (command line)`` of whoever listens on a TCP port; empty when that cannot be seen."""
    wanted = {f"socket:[{inode}]" for inode in _listening(port)}
    for descriptor in Path("/proc").glob("[0-9]*/fd/*") if wanted else ():
        with contextlib.suppress(OSError):
            if str(descriptor.readlink()) in wanted:
                process = descriptor.parent.parent
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                return f"pid {process.name} ({command.strip()[:120]})"
    return ""


def _try_bind(bind: str, port: int) -> OSError | None:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections of an earlier proxy that linger do not count; a listener still does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind, port))
            probe.listen(1)
        except OSError as error:
            return error
    return None


def _listening(port: int) -> Iterator[str]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]
