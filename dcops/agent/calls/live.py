"""What is shown of a running tool: at a steady pace, so that no flood drowns anybody."""

from __future__ import annotations

import asyncio
import time
from math import isfinite
from typing import TYPE_CHECKING, Any

from .. import events

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event
    from ..tools.tool import ToolProgress

PER_SECOND = 256 * 1024
BURST = 256 * 1024
TOTAL = 4 * 1024 * 1024
"""Characters of one call; the full output is kept by the tool."""


class Live:
    """The output and progress of one call, each told at most once in an interval, the last state always."""

    def __init__(self, call: str, emit: Callable[[Event], None], interval: float) -> None:
        """Shows nothing yet.

        Args:
            call: the call's id.
            emit: takes the events.
            interval: seconds between two events of a kind; with 0 each piece is told as it comes.
        """
        self._call = call
        self._emit = emit
        self._interval = interval
        self._began = time.monotonic()
        self._allowance = Allowance(self._began)
        self._texts: list[str] = []
        self._percent = -1.0
        self._progress: dict[str, float | None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def output(self, text: str) -> None:
        """Shows more output, the first piece at once."""
        if shown := self._allowance.show(text, time.monotonic()):
            self._texts.append(shown)
            self._soon()

    def progress(self, progress: ToolProgress) -> None:
        """Shows how far the tool is; what has no total is not shown, nor the same percentage again."""
        if not (progress.total > 0 and isfinite(progress.done) and isfinite(progress.total)):
            return
        part = min(max(progress.done / progress.total, 0.0), 1.0)
        percent = round(100 * part, 1)
        if percent != self._percent:
            self._percent = percent
            passed = time.monotonic() - self._began
            self._progress = {"percent": percent, "eta": round(passed / part - passed, 1) if part else None}
            self._soon()

    def close(self) -> None:
        """Shows the rest; what comes after it is not shown."""
        if self._timer:
            self._timer.cancel()
        if note := self._allowance.skipped():
            self._texts.append(note)
        self._tell()
        self._closed = True

    def _soon(self) -> None:
        if self._timer is None and not self._closed:
            self._pace()

    def _pace(self) -> None:
        """Tells what there is, and the next no sooner than after the interval."""
        self._timer = None
        if self._tell() and self._interval:
            self._timer = asyncio.get_running_loop().call_later(self._interval, self._pace)

    def _tell(self) -> bool:
        """Tells what there is; whether there was anything."""
        if not self._texts and not self._progress:
            return False
        if self._texts:
            self._custom("tool.output", text="".join(self._texts))
        if self._progress:
            self._custom("tool.progress", **self._progress)
        self._texts, self._progress = [], {}
        return True

    def _custom(self, name: str, **value: Any) -> None:
        self._emit(events.custom(name, {"call": self._call, **value}))


class Allowance:
    """How much of one call's output may be shown."""

    def __init__(self, now: float) -> None:
        """Starts with a full burst; `now` in seconds of any steady clock."""
        self._room = float(BURST)
        self._left = TOTAL
        self._then = now
        self._skipped = 0

    def show(self, text: str, now: float) -> str:
        """What of `text` is shown; what was skipped is said as soon as there is room again."""
        self._room = min(self._room + (now - self._then) * PER_SECOND, BURST)
        self._then = now
        room = min(int(self._room), self._left)
        if room < min(len(text), 1024):
            self._skipped += len(text)
            return ""
        shown = text[:room]
        self._room -= len(shown)
        self._left -= len(shown)
        note = self.skipped()
        self._skipped = len(text) - len(shown)
        return note + shown

    def skipped(self) -> str:
        """A line that says how much was skipped since the last one; empty when nothing was."""
        skipped, self._skipped = self._skipped, 0
        return f"\n[... {skipped} characters are only in the full output ...]\n" if skipped else ""
