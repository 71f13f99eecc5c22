"""The `files` tool: look at files and directories of the workspace, and at nothing outside it."""

from __future__ import annotations

import asyncio
import os
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar

from .tool import Effect, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from .tool import ToolContext

MOST_CHARACTERS = 60_000
MOST_ENTRIES = 500
LONGEST_LINE = 2_000


class Refused(Exception):
    """What cannot be done with a path; the text is for the model."""


class Files:
    """Reads by path; paths are relative to the workspace, and no link leads out of it."""

    name = "files"
    description = (
        "Look at files in the workspace. `view` shows a file with line numbers (`view_range` [first, last], "
        "last -1 for the end), or a directory two levels deep without hidden entries."
    )
    input_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "command": {"type": "string", "enum": ["view"]},
            "path": {
                "type": "string",
                "minLength": 1,
                "description": "Relative to the workspace, or absolute in it.",
            },
            "view_range": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        },
        "required": ["command", "path"],
        "additionalProperties": False,
    }

    def effect(self, arguments: dict[str, Any]) -> Effect:
        """Looking changes nothing."""
        del arguments
        return Effect.READONLY

    def lane(self, arguments: dict[str, Any]) -> str | None:
        """Views run beside everything."""
        del arguments
        return None

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> AsyncIterator[ToolResult]:
        """Runs `command`; see `Tool.run`."""
        try:
            text = await asyncio.to_thread(_view, arguments, context.workspace)
        except Refused as refusal:
            yield ToolResult(str(refusal), "error")
        except OSError as error:
            yield ToolResult(f"{arguments['path']}: {error.strerror or error}", "error")
        else:
            yield ToolResult(text)

    async def close(self, session: str | None = None) -> None:
        """Nothing is kept."""


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


def _view(arguments: dict[str, Any], workspace: Path) -> str:
    path = confined(arguments["path"], workspace)
    if path.is_dir():
        if "view_range" in arguments:
            raise Refused("view_range is for files; this is a directory")
        return _directory(path)
    if not path.exists():
        raise Refused(f"{arguments['path']} does not exist")
    if not path.is_file():
        raise Refused(f"{arguments['path']} is neither a file nor a directory")
    return _file(path, arguments.get("view_range"))


def _file(path: Path, view_range: list[int] | None) -> str:
    """Numbered lines; reads no further than it must, so the size of the file does not matter."""
    first, last = view_range or (1, -1)
    if first < 1 or (last != -1 and last < first):
        raise Refused(f"view_range {view_range} must be [first, last] with 1 <= first <= last, or last -1")
    shown: list[str] = []
    characters = 0
    with path.open(encoding="utf-8", errors="replace") as file:
        if "\0" in file.read(4096):
            raise Refused(f"{path.name} is a binary file of {path.stat().st_size} bytes")
        file.seek(0)
        for number, line in enumerate(islice(file, first - 1, None if last == -1 else last), first):
            characters += min(len(line), LONGEST_LINE)
            if characters > MOST_CHARACTERS:
                shown.append(f"[... cut before line {number}; use view_range to see more ...]")
                break
            shown.append(f"{number:6}\t{_short(line)}")
    if not shown:
        return "[the file is empty]" if first == 1 else f"[the file has fewer than {first} lines]"
    return "\n".join(shown)


def _short(line: str) -> str:
    line = line.rstrip("\n")
    return (
        line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]} [... {len(line) - LONGEST_LINE} more]"
    )


def _directory(path: Path) -> str:
    entries = list(islice(_entries(path, 2), MOST_ENTRIES + 1))
    lines = [
        str(entry.relative_to(path)) + ("/" if entry.is_dir() else "") for entry in entries[:MOST_ENTRIES]
    ]
    if len(entries) > MOST_ENTRIES:
        lines.append(f"[... more than {MOST_ENTRIES} entries ...]")
    return "\n".join(lines) or "[the directory is empty]"


def _entries(path: Path, depth: int) -> Iterator[Path]:
    with os.scandir(path) as found:
        names = sorted(entry.name for entry in found if not entry.name.startswith("."))
    for name in names:
        entry = path / name
        yield entry
        if depth > 1 and entry.is_dir() and not entry.is_symlink():
            try:
                yield from _entries(entry, depth - 1)
            except PermissionError:
                continue
