"""How much of a running tool's output is shown live: a steady rate, so that a flood drowns nobody."""

from __future__ import annotations

PER_SECOND = 256 * 1024
BURST = 256 * 1024
TOTAL = 4 * 1024 * 1024
"""Characters of one call; the full output is kept by the tool."""


class Live:
    """The live view of one call's output."""

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
