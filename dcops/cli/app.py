"""One run of the command line: its options, its console, and the world that its operation works on."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dcops.cli.console import Console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from dcops.cli.render.progress import Progress
    from dcops.core.events import Emit, OperationEvent
    from dcops.operations.world import World


@dataclass
class App:
    """What the options that work anywhere say.

    Attributes:
        command: Words that named the command, ``dcops toggle set``, for reports.
        streams: Whether JSON comes as lines of events that end in a result.
    """

    json: bool = False
    debug: bool = False
    color: str = "auto"
    project: Path | None = None
    command: str = "dcops"
    streams: bool = False

    _progress: Progress | None = None

    @cached_property
    def console(self) -> Console:
        return Console(self.color)

    def world(self, emit: Emit | None = None) -> World:
        from dcops.cli.wiring import make_world

        return make_world(self.project, emit or self._note, self.ask)

    def _note(self, event: OperationEvent) -> None:
        """What an operation without a renderer has to say goes to stderr, a line each."""
        if event.state == "note":
            self.console.tell(event.text)

    def ask(self, question: str) -> bool:
        """Ask whoever sits at the terminal; nobody there is a no, and ``--yes`` answers nothing here."""
        if self.json or not self.console.interactive:
            return False
        if self._progress is not None:
            self._progress.close()  # what moves on the screen would write over the question
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in {"y", "yes"}

    def show(self, name: str, document: Mapping[str, Any], text: Callable[[], Iterable[str]]) -> None:
        """Print a result: one JSON object with its schema, or lines of text."""
        if self.json:
            kind = {"type": "result"} if self.streams else {}
            self.console.document({"schema": f"dcops.{name}/1", **kind, **document})
            return
        for line in text():
            self.console.out(line)

    def progress(self, operation: str, environment: str, *, streams: bool = True) -> Progress:
        """The renderer of an operation's events: JSON lines, a live terminal, or plain lines.

        Args:
            operation: What runs, for JSON.
            environment: Where, for people.
            streams: Whether JSON comes as one line an event; without it JSON is the result alone.
        """
        self._progress = self._renderer(operation, environment, streams=streams)
        return self._progress

    def _renderer(self, operation: str, environment: str, *, streams: bool) -> Progress:
        if self.json:
            from dcops.cli.render.ndjson import JsonLines
            from dcops.cli.render.progress import Progress

            self.streams = streams
            return JsonLines(self.console, operation) if streams else Progress()
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from dcops.cli.render.terminal import Terminal

            return Terminal(self.console)
        from dcops.cli.render.plain import Plain

        return Plain(self.console, environment)
