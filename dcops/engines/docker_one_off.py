"""One command: in a container of its own to its end, or in a running one with our streams as its own."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import socket
import ssl
import struct
import termios
import threading
import tty as terminal
from typing import TYPE_CHECKING, Any

from dcops.core.protocols import TOOK_TOO_LONG, Outcome
from dcops.engines.docker_streams import BLOCK, frames, raw
from dcops.engines.signals import passing_on
from dcops.errors import DcopsError, PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from dcops.engines.docker_daemon import Daemon

STDIN, STDOUT, STDERR = 0, 1, 2
# Docker cannot send a signal to such a command: it and its children are known by a variable of theirs.
_SIGNAL = """\
for each in /proc/[0-9]*; do
    grep -qs "DCOPS_EXEC=$1" "$each/environ" && kill -s "$2" "${each#/proc/}"
done
"""
_REFUSED = b"OCI runtime exec failed: "
NOT_EXECUTABLE, NOT_FOUND = 126, 127


def run_to_end(daemon: Daemon, name: str, config: Mapping[str, Any], seconds: float) -> Outcome:
    """Run the command of a container that is gone when this returns."""
    try:
        code, said = daemon.run_to_end(name, config, seconds)
    except PreconditionMissing as error:
        if "OCI runtime create failed" not in error.why:
            raise
        return Outcome(_refusal(error.why), (error.why,))
    lines = tuple(said.decode(errors="replace").splitlines())
    return Outcome(TOOK_TOO_LONG if code is None else code, lines)


def attach(daemon: Daemon, container: str, command: Sequence[str], *, tty: bool) -> int:
    """Run it to its end; returns its exit code, as a shell would say it.

    Args:
        tty: Give it a terminal, ours in raw mode.
    """
    mark = os.urandom(8).hex()
    variables = {"DCOPS_EXEC": mark} | ({"TERM": os.environ.get("TERM", "xterm")} if tty else {})
    execution, sock = daemon.start_execution(container, command, variables, tty=tty)

    def pass_on(number: int) -> None:
        name = signal.Signals(number).name.removeprefix("SIG")
        with contextlib.suppress(DcopsError):  # the instance has ended
            daemon.execute(container, ["sh", "-c", _SIGNAL, "sh", mark, name])

    def resize(rows: int, columns: int) -> None:
        daemon.resize_execution(execution, rows, columns)

    connection = getattr(sock, "_sock", sock)
    with contextlib.closing(sock), passing_on(pass_on):
        try:
            with _terminal(resize) if tty else contextlib.nullcontext(), _feeding(connection):
                held = _show(raw(connection) if tty else frames(connection))
        except BaseException:
            pass_on(signal.SIGTERM)
            raise
    return _code(daemon.execution_code(execution), held)


def _show(said: Iterable[tuple[int, bytes]]) -> bytes:
    """Write to our own streams what it says, until it ends; returns what may be why it could not begin."""
    held = b""
    for number, (stream, data) in enumerate(said):
        if not number and data.startswith(_REFUSED):
            held = data
            continue
        _write(STDOUT, held)
        held = b""
        _write(stream, data)
    return held


def _code(code: int, held: bytes) -> int:
    """Docker says 126 whatever hindered the command, and why on its stdout."""
    if not held or code != NOT_EXECUTABLE:
        _write(STDOUT, held)
        return code
    _write(STDERR, held.replace(b"\r\n", b"\n"))
    return _refusal(held.decode(errors="replace"))


def _refusal(why: str) -> int:
    return NOT_EXECUTABLE if "permission denied" in why else NOT_FOUND


def _write(stream: int, data: bytes) -> None:
    while data:
        data = data[os.write(STDERR if stream == STDERR else STDOUT, data) :]


@contextlib.contextmanager
def _feeding(connection: Any) -> Iterator[None]:
    """Our stdin goes to the command, until it ends or we do."""
    reader, writer = os.pipe()
    thread = threading.Thread(target=_feed, args=(connection, reader), daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.close(writer)
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)  # a command that reads no more must not hold the thread
        thread.join()
        os.close(reader)


def _feed(connection: Any, ended: int) -> None:
    with contextlib.suppress(OSError):  # the command has ended
        while ended not in (ready := select.select([STDIN, ended], [], [])[0]):
            if STDIN in ready:
                data = os.read(STDIN, BLOCK)
                if not data:
                    if not isinstance(connection, ssl.SSLSocket):  # one cannot be closed by half
                        connection.shutdown(socket.SHUT_WR)
                    return
                connection.sendall(data)


@contextlib.contextmanager
def _terminal(resize: Callable[[int, int], None]) -> Iterator[None]:
    """Every key goes to the command as it is; its terminal has the size of ours."""
    before = termios.tcgetattr(STDIN)

    def follow(*_: object) -> None:
        rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(STDIN, termios.TIOCGWINSZ, bytes(8)))
        resize(rows, columns)

    handler = signal.signal(signal.SIGWINCH, follow)
    try:
        terminal.setraw(STDIN)
        follow()
        yield
    finally:
        signal.signal(signal.SIGWINCH, handler)
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)
