"""A persistent bash: commands go in by a pipe of its own, the end of each comes back by another.

Neither is the command's stdin, stdout or stderr, so an unbalanced quote, a comment, a here-document, `exit`
or a background job cannot confuse where a command ends.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

CHUNK = 256 * 1024
PIPE = 64 * 1024
"""What a pipe holds."""

GRACE = 0.08
"""Seconds between SIGTERM and SIGKILL for what a command started."""

MARK = "AGENT_SHELL"
"""Environment variable by which processes that left the shell's group are still found."""

# The end of a command is told where the next one is waited for: `continue` and `break` in a command act on
# these loops, and so come by here as well. What `set -x` would say of that is nobody's.
_DRIVER = """
while :; do
  while {{
    __agent_code=$?
    [[ -z ${{__agent_command+x}} ]] || builtin printf '%s\\0%s\\0' "$__agent_code" "$PWD" >&{ends}
    IFS= builtin read -r -d '' -u {commands} __agent_command || exit
  }} 2>/dev/null; do
    eval "$__agent_command" </dev/null {commands}<&- {ends}>&-
  done
done
"""

# The guard waits for the end of a pipe that only the agent holds, and kills what the agent would have killed.
# It is a child from before the exec, so that `wait` in a command knows nothing of it.
_GUARD = """
{{
  builtin read -r -u {life}
  for each in /proc/[0-9]*; do
    [[ $each == /proc/$BASHPID || $(<$each/environ) != *{mark}=${mark}* ]] || kill -KILL ${{each#/proc/}}
  done
  kill -KILL 0
}} >/dev/null 2>&1 {commands}<&- {ends}>&- &
exec bash --noprofile --norc -c "$0" {life}<&-
"""


@dataclass(frozen=True, slots=True)
class End:
    """How a command ended; `alive` is false when it ended the shell too (``exit``, ``exec``)."""

    exit_code: int
    directory: str | None
    alive: bool = True


class Shell:
    """One bash process with its group; one command at a time.

    A guard in the group kills it when the agent dies without a chance to, and what left the group: no command
    outlives its agent, unless it left the group with an empty environment.
    """

    def __init__(self, directory: Path) -> None:
        """Starts bash in `directory`.

        Raises:
            OSError: there is no bash, or no such directory.
        """
        self._mark = uuid.uuid4().hex
        self._ours: list[int] = []
        theirs: list[int] = []
        try:
            for n in range(4):
                reading, writing = os.pipe()
                theirs.append(reading if n < 2 else writing)
                self._ours.append(writing if n < 2 else reading)
            self._commands, _life, self._ends, self._output = self._ours
            self._process = self._start(directory, *theirs)
        except OSError:
            self._close_pipes()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        for descriptor in (self._ends, self._output):
            os.set_blocking(descriptor, False)
        self._end = b""
        self.busy = False

    def _start(
        self, directory: Path, commands: int, life: int, ends: int, output: int
    ) -> subprocess.Popen[bytes]:
        guard = _GUARD.format(life=life, commands=commands, ends=ends, mark=MARK)
        driver = _DRIVER.format(commands=commands, ends=ends)
        return subprocess.Popen(
            ["bash", "--noprofile", "--norc", "-c", guard, driver],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=directory,
            env={**environment(os.environ), MARK: self._mark},
            pass_fds=(commands, life, ends),
            start_new_session=True,
        )

    async def run(self, command: str) -> AsyncIterator[bytes | End]:
        """Runs a command: its output (stdout and stderr in one) as it comes, and last its End.

        A cancelled run leaves the command running: `kill` ends it.
        """
        loop = asyncio.get_running_loop()
        ready = asyncio.Event()
        self.busy = True
        await self._send(command)
        loop.add_reader(self._output, ready.set)
        loop.add_reader(self._ends, ready.set)
        try:
            while True:
                end = self._ended()
                # What was written before the end is in the pipe by now; a background job may never stop.
                room = PIPE if end else CHUNK
                while room and (chunk := _read(self._output, room)):
                    room -= len(chunk)
                    yield chunk
                if end:
                    yield end
                    return
                with suppress(TimeoutError):
                    # A background job may also hold the pipes open when the shell is gone: look now and then.
                    # Not by wait_for: in Python 3.11 it loses a cancellation that comes together with output.
                    async with asyncio.timeout(0.1):
                        await ready.wait()
                ready.clear()
        finally:
            self.busy = False
            loop.remove_reader(self._output)
            loop.remove_reader(self._ends)

    @property
    def alive(self) -> bool:
        """Whether bash still runs; reaps it when it does not."""
        return self._process.poll() is None

    async def _send(self, command: str) -> None:
        """Writes the command without stopping the loop: bash reads a long one slowly."""
        data = command.encode() + b"\0"
        if len(data) < PIPE:
            _write_all(self._commands, data)
        else:
            await asyncio.to_thread(_write_all, self._commands, data)

    def _ended(self) -> End | None:
        self._end += _read(self._ends, CHUNK)
        if self._end.count(b"\0") >= 2:
            code, directory, _ = self._end.split(b"\0", 2)
            self._end = b""
            return End(int(code), _text(directory))
        code_of_shell = self._process.poll()
        return None if code_of_shell is None else End(code_of_shell, None, alive=False)

    async def kill(self) -> None:
        """Ends the shell and everything started in it: SIGTERM, then SIGKILL, then what left the group.

        A cancellation waits for the end of it: half killed, what is left would run on unseen.
        """
        killing = asyncio.create_task(self._kill())
        try:
            await asyncio.shield(killing)
        except asyncio.CancelledError:
            await asyncio.wait({killing})
            raise

    async def _kill(self) -> None:
        self._signal(signal.SIGTERM)
        await _until(lambda: not self._signal(0), GRACE)
        self._signal(signal.SIGKILL)
        await asyncio.to_thread(_kill_marked, self._mark)  # reads about every process there is
        await _until(lambda: not self.alive, 1)
        self._close_pipes()

    def _signal(self, number: int) -> bool:
        try:
            os.killpg(self._process.pid, number)
        except (ProcessLookupError, PermissionError):
            return False
        return True

    def _close_pipes(self) -> None:
        while self._ours:
            os.close(self._ours.pop())


def environment(inherited: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """What commands see: nothing that lets them speak for the agent, and no pagers that wait for a key."""
    kept = {key: value for key, value in inherited.items() if not key.startswith(("ANTHROPIC_", "DCOPS_"))}
    return {**kept, "TERM": "dumb", "PAGER": "cat", "GIT_PAGER": "cat", "PYTHONUNBUFFERED": "1"}


def _text(directory: bytes) -> str | None:
    """The directory, if its name can be written down."""
    try:
        return directory.decode() or None
    except UnicodeDecodeError:
        return None


async def _until(condition: Callable[[], bool], seconds: float) -> None:
    """Waits for a condition that nothing announces, but not longer than `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def _read(descriptor: int, most: int) -> bytes:
    try:
        return os.read(descriptor, most)
    except BlockingIOError:
        return b""


def _write_all(descriptor: int, data: bytes) -> None:
    with suppress(BrokenPipeError):
        while data:
            data = data[os.write(descriptor, data) :]


def _kill_marked(mark: str) -> None:
    """Kills processes that carry the mark, where /proc tells; without it the group was all there is."""
    needle = f"{MARK}={mark}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            marked = needle in (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        if marked and int(process.name) != os.getpid():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(int(process.name), signal.SIGKILL)
