"""The end of a log file, and what is added to it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BLOCK = 65536


def last_lines(path: Path, lines: int) -> list[str]:
    """At most so many lines from the end of a file and, when it was just rotated, of the one before it."""
    found: list[str] = []
    for each in (path, path.with_name(f"{path.name}.1")):
        if len(found) < lines and each.exists():
            with each.open("rb") as file:
                content = _end(file, lines - len(found)).splitlines()
            found = [_text(line) for line in content[len(found) - lines :]] + found
    return found


def follow(path: Path, lines: int, goes_on: Callable[[], bool]) -> Iterator[str]:
    """The last lines, then each new one as it is completed, until ``goes_on`` says no and nothing comes."""
    file = path.open("rb")
    try:
        *whole, rest = _end(file, lines).split(b"\n")
        yield from (_text(line) for line in (whole[-lines:] if lines else []))
        while True:
            more = file.read(BLOCK)
            *whole, rest = (rest + more).split(b"\n")
            yield from (_text(line) for line in whole)
            if more:
                continue
            if not goes_on():
                return
            if path.exists() and os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                file.close()
                file = path.open("rb")
            time.sleep(0.05)
    finally:
        file.close()


def _end(file: BinaryIO, lines: int) -> bytes:
    """The end of a file with at least so many lines; the file is left there."""
    end = start = file.seek(0, os.SEEK_END)
    content = b""
    while start > 0 and content.count(b"\n") <= lines:
        start = max(0, start - BLOCK)
        file.seek(start)
        content = file.read(end - start)
    return content


def _text(line: bytes) -> str:
    return line.decode(errors="replace")
