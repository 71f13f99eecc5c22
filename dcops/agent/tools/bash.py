"""The `bash` tool: one shell per session, output as it comes, and never a process left behind."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .output import Output
from .shell import End, Shell
from .tool import Lane, Tool, ToolOutput, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from .tool import ToolContext

TIMEOUT = 120
LONGEST = 3600

KILLING = 10
"""Seconds that a command which ran out of time may take to end."""

MOST_SHELLS = 32
"""Shells that are kept between commands; with one more, the one that was idle the longest ends."""


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "command": {
            "type": "string",
            "minLength": 1,
            "description": "The command line or script to run.",
        },
        "timeout": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": LONGEST,
            "description": "Seconds.",
        },
    },
    "required": ["command"],
    "additionalProperties": False,
}


class Bash(Tool):
    """Runs commands in the session's shell, which keeps its directory, variables and functions."""

    name = "bash"
    description = (
        "Run a command in a persistent bash shell in the workspace; directory, variables and functions stay "
        "from call to call. stdin is empty. stdout and stderr come back together with the exit code; a long "
        f"output is shortened in the middle. After `timeout` seconds (default {TIMEOUT}, at most {LONGEST}) "
        "the command is killed and the shell starts anew. Start long-lived processes in the background with "
        "their output redirected to a file."
    )
    input_schema = SCHEMA
    large_input = True  # whole files are written by it
    streams_by = "use_streaming_bash"

    def __init__(self) -> None:
        """No shell is started before the first call of a session."""
        self._shells: dict[str, Shell] = {}

    def refusal(self, arguments: dict[str, Any], context: ToolContext) -> str | None:
        """A NUL ends a command where it is handed to the shell."""
        del context
        return "a command cannot contain a NUL character" if "\0" in arguments["command"] else None

    def lane(self, arguments: dict[str, Any], context: ToolContext) -> Lane | None:
        """One command at a time in the session's shell."""
        del arguments, context
        return Lane("shell")

    def timeout(self, arguments: dict[str, Any]) -> float:
        """More than the command has: it is killed in its time here, where the shell is at hand."""
        return float(arguments.get("timeout", TIMEOUT)) + KILLING

    async def run(
        self, arguments: dict[str, Any], context: ToolContext
    ) -> AsyncGenerator[ToolOutput | ToolResult, None]:
        """Runs `command`; see `Tool.run`."""
        command = arguments["command"]
        seconds = arguments.get("timeout", TIMEOUT)
        try:
            shell, note = await self._shell(context)
        except OSError as error:
            yield ToolResult(f"The shell does not start: {error}.", "failed")
            return
        output = Output(context.output)
        end: End | None = None
        try:
            async for item in _until(shell.run(command), seconds):
                if isinstance(item, End):
                    end = item
                elif text := output.take(item):
                    yield ToolOutput(text)
            if text := output.take(b"", final=True):
                yield ToolOutput(text)
        finally:
            output.close()
            if end is None or not end.alive:
                await self.close(context.session)
        yield _result(note + output.for_model(), end, seconds)

    async def _shell(self, context: ToolContext) -> tuple[Shell, str]:
        """The session's shell, and what the model must know about a new one."""
        shell = self._shells.pop(context.session, None)
        if shell and shell.alive:
            self._shells[context.session] = shell  # now the last: their order tells the idlest
            return shell, ""
        if shell:
            await shell.kill()  # it ended by itself; what it started may not have
        had_one = shell is not None or context.directory is not None
        last = Path(context.directory) if context.directory else None
        directory = last if last and last.is_dir() else context.workspace
        await self._make_room()
        shell = self._shells[context.session] = Shell(directory)
        note = f"[a new shell in {directory}: variables and jobs of the earlier one are gone]\n"
        return shell, note if had_one else ""

    async def _make_room(self) -> None:
        idle = [session for session, shell in self._shells.items() if not shell.busy]
        surplus = idle[: max(len(self._shells) - MOST_SHELLS + 1, 0)]
        # All are taken out before the first wait, in which another session could come back to its shell.
        await asyncio.gather(*[shell.kill() for shell in map(self._shells.pop, surplus)])

    async def close(self, session: str | None = None) -> None:
        """Kills the session's shell (or all) with everything that was started in it."""
        names = [session] if session else list(self._shells)
        shells = [self._shells.pop(name) for name in names if name in self._shells]
        await asyncio.gather(*(shell.kill() for shell in shells))


async def _until(items: AsyncIterator[bytes | End], seconds: float) -> AsyncIterator[bytes | End]:
    """The items that come in time; closes the source at the end in any case."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    try:
        while True:
            async with asyncio.timeout_at(deadline):
                item = await anext(items)
            yield item
            if isinstance(item, End):
                return
    except TimeoutError:
        return
    finally:
        await items.aclose()  # type: ignore[attr-defined]  # every source here is a generator


def _result(output: str, end: End | None, seconds: float) -> ToolResult:
    body = output if not output or output.endswith("\n") else output + "\n"
    if end is None:
        told = f"[killed after {seconds:g} s; the next command gets a new shell]"
        return ToolResult(body + told, "timed_out")
    if not end.alive:
        told = f"[exit code {end.exit_code}; the shell ended with it, the next command gets a new one]"
        return ToolResult(body + told, "failed" if end.exit_code else "done", end.exit_code)
    told = body + f"[exit code {end.exit_code}]" if end.exit_code or not body else body
    return ToolResult(told, "failed" if end.exit_code else "done", end.exit_code, end.directory)
