"""The end of a log file, what it says since a moment, and what is added to it.

Lines have no times of their own here. Those of JSON logs carry one; a line without one belongs to the line
before it.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import time
from datetime import datetime
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

BLOCK = 65536
SLACK = 5.0  # seconds by which lines may stand in another order than their times


def parts(path: Path) -> list[Path]:
    """The files of a log that supervisord rotates, the oldest first."""
    names = (f"{path.name}.3", f"{path.name}.2", f"{path.name}.1", path.name)
    return [each for each in map(path.with_name, names) if each.exists()]


def last_lines(path: Path, lines: int | None) -> list[str]:
    """At most so many lines from the end of a log; None for all that there are."""
    found: list[str] = []
    for each in reversed(parts(path)):
        if lines is None or len(found) < lines:
            with each.open("rb") as file:
                content = _end(file, None if lines is None else lines - len(found)).splitlines()
            first = 0 if lines is None else len(found) - lines
            found = [_text(line) for line in content[first:]] + found
    return found


def lines_since(paths: Iterable[Path], moment: float) -> Iterator[str]:
    """Lines not older than a moment, in seconds since the epoch, of files in this order.

    Of a file in which no line carries a time all are given, when it has changed since. One that has gone
    meanwhile was compressed.
    """
    for path in paths:
        found = path if path.exists() else path.with_name(f"{path.name}.gz")
        with contextlib.suppress(FileNotFoundError), found.open("rb") as file:
            if os.fstat(file.fileno()).st_mtime >= moment:
                compressed = found.suffix == ".gz"
                content = gzip.decompress(file.read()) if compressed else _window(file, moment)
                yield from _since(content.splitlines(), moment)


def follow(
    path: Path, lines: int | None, goes_on: Callable[[], bool], *, since: float | None = None
) -> Iterator[str]:
    """The last lines, then each new one as it is completed, until ``goes_on`` says no and nothing comes."""
    file = path.open("rb")
    try:
        if since is None:
            *whole, rest = _end(file, lines).split(b"\n")
            first = [_text(line) for line in whole]
        else:
            earlier = lines_since([each for each in parts(path) if each != path], since)
            *whole, rest = _window(file, since).split(b"\n")
            first = [*earlier, *_since(whole, since)]
        yield from first if lines is None else first[max(0, len(first) - lines) :]
        ended = False
        while True:
            more = file.read(BLOCK)
            *whole, rest = (rest + more).split(b"\n")
            yield from (_text(line) for line in whole)
            if more:
                continue
            if ended:
                return
            ended = not goes_on()  # then once more: its last words may have come meanwhile
            if path.exists() and os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                file.close()
                file = path.open("rb")
            time.sleep(0.05)
    finally:
        file.close()


def _end(file: IO[bytes], lines: int | None) -> bytes:
    """The end of a file with at least so many lines, or all of it; the file is left there."""
    end = start = file.seek(0, os.SEEK_END)
    content = b""
    while start > 0 and (lines is None or content.count(b"\n") <= lines):
        start = max(0, start - BLOCK)
        file.seek(start)
        content = file.read(end - start)
    return content


def _window(file: IO[bytes], moment: float) -> bytes:
    """The end of a file that begins before a moment, at the beginning of a line; the file is left there."""
    end, size = file.seek(0, os.SEEK_END), BLOCK
    while True:
        start = max(0, end - size)
        file.seek(start)
        content = file.read(end - start)
        if not start:
            return content
        whole = content[content.find(b"\n") + 1 :]
        first = next((found for line in whole.splitlines() if (found := _time(line)) is not None), moment)
        if first < moment - SLACK:
            return whole
        size *= 4


def _since(lines: Sequence[bytes], moment: float) -> Iterator[str]:
    shown: bool | None = None
    untimed: list[bytes] = []
    for line in lines:
        found = _time(line)
        if found is not None:
            if shown is None and found >= moment:
                yield from map(_text, untimed)
            shown = found >= moment
        if shown is None:
            untimed.append(line)
        elif shown:
            yield _text(line)
    if shown is None:
        yield from map(_text, untimed)


def _time(line: bytes) -> float | None:
    """When a JSON line was written, as Caddy or as structlog says it."""
    if not line.startswith(b"{"):
        return None
    with contextlib.suppress(ValueError):
        document = json.loads(line)
        for value in (document.get(name) for name in ("ts", "time", "timestamp")):
            if isinstance(value, str):
                return datetime.fromisoformat(value).timestamp()
            if isinstance(value, int | float):
                return float(value)
    return None


def _text(line: bytes) -> str:
    return line.decode(errors="replace")
