"""Events on a terminal: a line for each finished step, and one that moves for the step that runs."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from dcops.cli.console import style
from dcops.cli.render.progress import Progress, length

if TYPE_CHECKING:
    from dcops.cli.console import Console
    from dcops.core.events import OperationEvent

LOOKS = {"ok": "good", "failed": "bad", "skipped": "dim", "undone": "warn"}
SIGNS = {"ok": "ok", "failed": "fail", "skipped": "skip", "undone": "undo"}
KEPT_NOTES = 5


class Terminal(Progress):
    """The live view; it moves only while a step runs, so questions can be asked between."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        no_color = not console.talks_in_color
        self._rich = RichConsole(file=sys.stderr, no_color=no_color, highlight=False, force_terminal=True)
        self._live: Live | None = None
        self._step = self._title = ""
        self._since = 0.0
        self._notes: list[str] = []

    def emit(self, event: OperationEvent) -> None:
        if event.state == "started":
            self._begin(event.step, event.text)
        elif event.state == "note":
            self._note(event)
        else:
            self._end(event)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _begin(self, step: str, text: str) -> None:
        self.close()
        self._step, self._title, self._since, self._notes = step, text, time.monotonic(), []
        # A callable is asked anew at each refresh, so the elapsed time moves by itself.
        self._live = Live(
            console=self._rich, get_renderable=self._moving, refresh_per_second=10, transient=True
        )
        self._live.start()

    def _moving(self) -> Spinner:
        note = self._notes[-1] if self._notes else self._title
        elapsed = length(time.monotonic() - self._since)
        # The spinner takes the place of the indentation.
        line = f"{self._head(self._step).removeprefix('  ')}           {elapsed:>7}  {note}"
        text = Text(line, no_wrap=True, overflow="ellipsis")
        if not hasattr(self, "_spinner"):
            self._spinner = Spinner("dots" if self._console.unicode else "line")
        self._spinner.update(text=text)
        return self._spinner

    def _note(self, event: OperationEvent) -> None:
        if self._live is not None and event.step == self._step:
            # A line that moves must be one; all of a failed check stands in the error.
            self._notes = [*self._notes, event.text.partition("\n")[0]][-KEPT_NOTES:]
        else:
            self._console.talk(f"  {self._console.glyphs['note']} {event.text}")

    def _end(self, event: OperationEvent) -> None:
        self.close()
        sign, look = self._console.glyphs[SIGNS[event.state]], LOOKS[event.state]
        state = f"{sign} {event.state:<7}"
        before = f"{self._head(event.step)} {state} {length(event.seconds):>7}  "
        room = None if event.state == "failed" else max(self._rich.width - len(before), 0)
        line = f"{before}{event.text[:room]}".rstrip()
        self._console.talk(line.replace(state, style(state, look), 1))
        if event.state == "failed":
            for note in self._notes:
                self._console.talk(style(f"        {note}", "dim"))

    def _head(self, step: str) -> str:
        place = self.position(step)
        return f"  {f'[{place}]' if place else '':<7} {step:<10}"
