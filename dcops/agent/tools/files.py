"""The `files` tool: look at files and directories of the workspace, and at nothing outside it."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from contextlib import contextmanager, suppress
from functools import lru_cache
from heapq import nsmallest
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .tool import Lane, Tool, ToolOutput, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterator

    from .tool import ToolContext

MOST_CHARACTERS = 60_000
MOST_ENTRIES = 500
LONGEST_LINE = 2_000

LONGEST_PATH = 4_095
"""Characters; no system takes more, and each part of it is looked up."""

FARTHEST = 64 * 1024 * 1024
"""Characters of a file that are looked through; nobody can stop a thread that reads on."""


BATCH = 16 * 1024
BATCH_SECONDS = 0.05
"""Characters and seconds after which what was found so far is shown; less is one result."""


class Refused(Exception):
    """What cannot be done with a path; the text is for the model."""


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "command": {"type": "string", "enum": ["view"]},
        "path": {
            "type": "string",
            "minLength": 1,
            "maxLength": LONGEST_PATH,
            "description": "Relative to the workspace, or absolute in it.",
        },
        "view_range": {
            "type": "array",
            "items": {"type": "integer", "maximum": FARTHEST},
            "minItems": 2,
            "maxItems": 2,
        },
    },
    "required": ["command", "path"],
    "additionalProperties": False,
}


class Files(Tool):
    """Reads by path; paths are relative to the workspace, and no link leads out of it."""

    name = "files"
    description = (
        "Look at files in the workspace. `view` shows a file with line numbers (`view_range` [first, last], "
        "last -1 for the end), or a directory two levels deep without hidden entries."
    )
    input_schema = SCHEMA
    readonly = True
    streams_by = "use_streaming_file"

    def refusal(self, arguments: dict[str, Any], context: ToolContext) -> str | None:
        """What leads out of the workspace by its words alone; links are looked at when the call runs."""
        path, root = arguments["path"], str(context.workspace)
        if "\0" in path:
            return "a path cannot contain a NUL character"
        named = os.path.normpath(os.path.join(root, path))  # noqa: PTH118 - pathlib does not resolve `..`
        inside = any(Path(named).is_relative_to(place) for place in (root, _real(root)))
        return None if inside else f"{path} is outside the workspace {root}; name a path in it"

    def lane(self, arguments: dict[str, Any], context: ToolContext) -> Lane | None:
        """Views of a file run side by side, but not beside what writes to it."""
        return Lane.of_file(context.workspace / arguments["path"], shared=True)

    async def run(
        self, arguments: dict[str, Any], context: ToolContext
    ) -> AsyncGenerator[ToolOutput | ToolResult, None]:
        """Runs `command`; see `Tool.run`."""
        lines = _view(arguments, context.workspace)
        batches: list[str] = []
        try:
            while True:
                batch, more = await asyncio.to_thread(_batch, lines)
                batches.append(batch)
                if not more:
                    break
                yield ToolOutput(batch)
            if len(batches) > 1:
                yield ToolOutput(batch)
        except Refused as refusal:
            yield ToolResult(str(refusal), "failed")
        except OSError as error:
            yield ToolResult(f"{arguments['path']}: {error.strerror or error}", "failed")
        else:
            yield ToolResult("".join(batches).removesuffix("\n"))
        finally:
            with suppress(ValueError):  # a thread is at it: then it is closed when that is done
                lines.close()


@lru_cache(maxsize=1024)
def _real(workspace: str) -> str:
    return os.path.realpath(workspace)


def _batch(lines: Iterator[str]) -> tuple[str, bool]:
    """The lines of the next moment, and whether there may be more."""
    batch: list[str] = []
    characters = 0
    deadline = time.monotonic() + BATCH_SECONDS
    for line in lines:
        batch.append(f"{line}\n")
        characters += len(line)
        if characters > BATCH or time.monotonic() > deadline:
            return "".join(batch), True
    return "".join(batch), False


def confined(path: str, workspace: Path) -> Path:
    """The real path, all links resolved.

    Raises:
        Refused: it lies outside the workspace, or cannot be a path.
    """
    root = workspace.resolve()
    try:
        real = (root / path).resolve()
    except (ValueError, RuntimeError, OSError) as error:
        raise Refused(f"{path!r} cannot be resolved: {error}") from error
    if not real.is_relative_to(root):
        raise Refused(f"{path} is outside the workspace {root}")
    return real


def _view(arguments: dict[str, Any], workspace: Path) -> Generator[str, None, None]:
    """The lines of what is to be seen, as they are found."""
    name, view_range = arguments["path"], arguments.get("view_range")
    path = confined(name, workspace)
    if not path.exists():
        raise Refused(f"{name} does not exist")
    with _opened(path, workspace.resolve()) as opened:
        mode = os.fstat(opened).st_mode
        if stat.S_ISDIR(mode):
            if view_range:
                raise Refused("view_range is for files; this is a directory")
            yield from _directory(opened)
        elif stat.S_ISREG(mode):
            yield from _file(opened, path.name, view_range)
        else:
            raise Refused(f"{name} is neither a file nor a directory")


@contextmanager
def _opened(path: Path, root: Path) -> Iterator[int]:
    """A descriptor of what stands at `path`, looked at once more: a link may have been put there since."""
    # Without O_NONBLOCK a named pipe would hold the thread until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        with suppress(FileNotFoundError):  # not every system tells what is open
            if not Path(f"/proc/self/fd/{descriptor}").readlink().is_relative_to(root):
                raise Refused(f"{path} is outside the workspace {root}")
        yield descriptor
    finally:
        os.close(descriptor)


def _file(opened: int, name: str, view_range: list[int] | None) -> Iterator[str]:
    """Numbered lines; reads no further than it must, so the size of the file does not matter."""
    first, last = map(int, view_range or (1, -1))  # 2.0 is a whole number to JSON
    if first < 1 or (last != -1 and last < first):
        raise Refused(f"view_range {view_range} must be [first, last] with 1 <= first <= last, or last -1")
    number = characters = 0
    with open(opened, encoding="utf-8", errors="replace", closefd=False) as file:
        if "\0" in file.read(4096):
            raise Refused(f"{name} is a binary file of {os.fstat(opened).st_size} bytes")
        file.seek(0)
        for number, line in enumerate(islice(_lines(file), first - 1, None if last == -1 else last), first):
            shown = f"{number:6}\t{line}"
            characters += len(shown) + 1
            if characters > MOST_CHARACTERS:
                yield f"[... cut before line {number}; use view_range to see more ...]"
                break
            yield shown
    if not number:
        yield "[the file is empty]" if first == 1 else f"[the file has fewer than {first} lines]"


def _lines(file: TextIO) -> Iterator[str]:
    """The lines, long ones cut; never holds more of one than is shown of it.

    Raises:
        Refused: too much had to be looked through.
    """
    seen = 0
    while line := file.readline(LONGEST_LINE + 1):
        length, piece = len(line), line
        while not piece.endswith("\n") and seen + length <= FARTHEST and (piece := file.readline(1 << 16)):
            length += len(piece)
        seen += length
        if seen > FARTHEST:
            raise Refused(f"only the first {FARTHEST} characters of a file are looked through; use a command")
        length -= piece.endswith("\n")
        more = length - LONGEST_LINE
        yield f"{line[:LONGEST_LINE]} [... {more} more]" if more > 0 else line.rstrip("\n")


def _directory(opened: int) -> Iterator[str]:
    number = 0
    for number, entry in enumerate(_entries(opened, 2), 1):
        if number > MOST_ENTRIES:
            yield f"[... more than {MOST_ENTRIES} entries ...]"
            return
        yield entry
    if not number:
        yield "[the directory is empty]"


def _entries(opened: int, depth: int) -> Iterator[str]:
    with os.scandir(opened) as found:
        seen = ((entry.name, _is_directory(entry)) for entry in found if not entry.name.startswith("."))
        entries = nsmallest(MOST_ENTRIES + 1, seen)  # a directory may have millions
    for name, is_directory in entries:
        shown = os.fsencode(name).decode(errors="replace")  # a name need not be text
        yield f"{shown}/" if is_directory else shown
        if depth == 1 or not is_directory:
            continue
        try:
            inner = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=opened)
        except OSError:  # a link, or not ours to read
            continue
        try:
            yield from (f"{shown}/{entry}" for entry in _entries(inner, depth - 1))
        finally:
            os.close(inner)


def _is_directory(entry: os.DirEntry[str]) -> bool:
    """Whether it is one, or a link to one; a link that leads in circles leads nowhere."""
    try:
        return entry.is_dir()
    except OSError:
        return False
