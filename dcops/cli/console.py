"""Where text goes: stdout for data, stderr for talk; colours and glyphs as the receiver can show them."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

STYLES: dict[str, dict[str, Any]] = {
    "good": {"fg": "green"},
    "warn": {"fg": "yellow"},
    "bad": {"fg": "red", "bold": True},
    "strong": {"bold": True},
    "dim": {"dim": True},
    "name": {"fg": "cyan"},
}
UNLIMITED = 100_000
LEAST_COLUMN = 16
GLYPHS = {"ok": "✓", "fail": "✗", "warn": "!", "note": "·", "arrow": "→", "undo": "↩", "skip": "-"}
ASCII = {"ok": "+", "fail": "x", "warn": "!", "note": "-", "arrow": "->", "undo": "<", "skip": "-"}


def style(text: str, kind: str) -> str:
    """Text with the colours of a kind; they are taken out again where they are not wanted."""
    return click.style(text, **STYLES[kind])


def wants_color(stream: TextIO, mode: str, environ: Mapping[str, str]) -> bool:
    """Whether a stream gets colours: ``--color``, then NO_COLOR, FORCE_COLOR, TERM, then the terminal."""
    if mode != "auto":
        return mode == "always"
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return environ["FORCE_COLOR"] != "0"
    return stream.isatty() and environ.get("TERM") != "dumb"


class Console:
    """The two streams of one command.

    Args:
        color: ``auto``, ``always`` or ``never``.
    """

    def __init__(self, color: str = "auto") -> None:
        self._out = wants_color(sys.stdout, color, os.environ)
        self.talks_in_color = wants_color(sys.stderr, color, os.environ)
        self.unicode = (
            "utf" in (sys.stdout.encoding or "").lower() and "utf" in (sys.stderr.encoding or "").lower()
        )
        self.glyphs = GLYPHS if self.unicode else ASCII

    @property
    def interactive(self) -> bool:
        """Whether somebody can be asked: a terminal to read from and one to ask on."""
        return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()

    def out(self, line: str = "") -> None:
        """One line of data, flushed so that a pipe gets it at once."""
        click.echo(line, file=sys.stdout, color=self._out)

    def talk(self, line: str = "") -> None:
        click.echo(line, file=sys.stderr, color=self.talks_in_color)

    def tell(self, line: str) -> None:
        """Talk that must not stop what it tells of: a reader who went away is no reason to fail."""
        with contextlib.suppress(BrokenPipeError):
            self.talk(line)

    def report(self, document: Mapping[str, Any]) -> None:
        """As ``document``, for events of an operation that goes on when nobody reads."""
        with contextlib.suppress(BrokenPipeError):
            self.document(document)

    def document(self, document: Mapping[str, Any]) -> None:
        """One JSON object on one line of stdout."""
        import json

        click.echo(json.dumps(document, default=str), file=sys.stdout, color=False)


def width(stream: TextIO | None = None) -> int:
    """Columns of a terminal; what is no terminal has room for everything."""
    import shutil

    stream = stream or sys.stdout
    return shutil.get_terminal_size((100, 24)).columns if stream.isatty() else UNLIMITED


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, whole: bool = False) -> list[str]:
    """Lines of an aligned table.

    Args:
        whole: Whether the last column is shown as it is, also where the terminal is too narrow; else it is
            cut, and left out when little of it would remain.
    """
    cells = [list(head), *[list(row) for row in rows]]
    widths = [max(len(click.unstyle(row[column])) for row in cells) for column in range(len(head))]
    room = UNLIMITED if whole else width() - sum(widths[:-1]) - 2 * (len(widths) - 1)
    if room < min(widths[-1], LEAST_COLUMN):
        cells, widths = [row[:-1] for row in cells], widths[:-1]
        room = UNLIMITED
    lines = []
    for row in cells:
        *before, last = row
        shown = last if len(click.unstyle(last)) <= room else f"{click.unstyle(last)[: room - 2]}.."
        padded = [_padded(cell, size) for cell, size in zip(before, widths, strict=False)]
        lines.append("  ".join([*padded, shown]).rstrip())
    return [style(lines[0], "dim"), *lines[1:]]


def _padded(cell: str, size: int) -> str:
    return cell + " " * (size - len(click.unstyle(cell)))


def wrapped(label: str, text: str, stream: TextIO | None = None) -> list[str]:
    """Text behind a label, broken between words at the terminal's width and indented under itself."""
    indent = len(click.unstyle(label))
    room = width(stream) - indent
    lines = [part for line in text.splitlines() for part in _broken(line, max(room, LEAST_COLUMN))] or [""]
    return [f"{' ' * indent if index else label}{line}" for index, line in enumerate(lines)]


def _broken(line: str, room: int) -> list[str]:
    if len(click.unstyle(line)) <= room:
        return [line]
    import textwrap

    return textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False)


def ago(seconds: float) -> str:
    """A length of time as people say it: ``41s``, ``3h12m``, ``6d04h``."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s" if whole < 600 else f"{whole // 60}m"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def size(count: float) -> str:
    """Bytes as people say them: ``812 B``, ``38.2 MB``."""
    units = ["B", "kB", "MB", "GB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.0f} B" if units[0] == "B" else f"{count:.1f} {units[0]}"
