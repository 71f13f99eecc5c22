"""Run a program of the user's: its lines as they come, its end in time, and nothing left of it."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

GUARD = Path(__file__).with_name("guard.py")
END_SECONDS = 10.0
LOOK_SECONDS = 0.2
BLOCK = 65536
PIPE = 1 << 20
LONGEST_LINE = 65536
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def run_guarded(
    command: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    seconds: float,
    on_line: Callable[[str], None],
) -> int | None:
    """Run a program to its end, without a stdin.

    What it started ends with it, and all of it with dcops, also where that is killed. A signal to dcops ends
    it too. A process that has left its group is waited for by nobody.

    Args:
        seconds: After these it is ended.
        on_line: Gets each line of its output as it comes, as text without control characters.

    Returns:
        Its exit code as a shell says it; None when it was ended.
    """
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", str(GUARD), *command],
        env=dict(environment),
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    # Closing this line is what ends it; see guard.py.
    line = child.stdin
    try:
        with _on_signals(line.close):
            _listen(child, child.stdout.fileno(), time.monotonic() + seconds, on_line)
        return None if line.closed else child.returncode
    finally:
        line.close()
        _await_end(child)
        child.stdout.close()


def _listen(
    child: subprocess.Popen[bytes], output: int, deadline: float, on_line: Callable[[str], None]
) -> None:
    """Pass on lines until it has ended; the output alone tells nothing, a daemon may hold it open."""
    lines = _Lines(on_line)
    os.set_blocking(output, False)
    while child.poll() is None:
        if time.monotonic() >= deadline:
            assert child.stdin is not None
            child.stdin.close()
            deadline = float("inf")
        if lines.at_end:
            time.sleep(0.01)
        elif select.select([output], [], [], LOOK_SECONDS)[0]:
            lines.read(output)
    # No more than a pipe holds: what is still written comes from what has outlived it.
    for _ in range(PIPE // BLOCK):
        lines.read(output)
    lines.end()


class _Lines:
    """Bytes as they come, cut into lines of a bearable length."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self.at_end = False
        self._on_line = on_line
        self._rest = b""
        self._skipping = False

    def read(self, output: int) -> None:
        """Take what is there now."""
        try:
            more = os.read(output, BLOCK)
        except BlockingIOError:
            return
        self.at_end = not more
        *whole, rest = (self._rest + more).split(b"\n")
        for line in whole:
            self._say(line)
            self._skipping = False
        if len(rest) > LONGEST_LINE:
            self._say(rest)
            self._skipping, rest = True, b""
        self._rest = rest

    def end(self) -> None:
        if self._rest:
            self._say(self._rest)

    def _say(self, line: bytes) -> None:
        if not self._skipping:
            text = _COLOURS.sub("", line.decode(errors="replace").rstrip("\r"))
            self._on_line(_CONTROLS.sub("\ufffd", text))


@contextlib.contextmanager
def _on_signals(action: Callable[[], None]) -> Iterator[None]:
    """Do something first when a signal comes that ends an operation; then what is done with it anyway."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        action()
        earlier = before[signal.Signals(number)]
        if callable(earlier):
            earlier(number, frame)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _await_end(child: subprocess.Popen[bytes]) -> None:
    try:
        child.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
