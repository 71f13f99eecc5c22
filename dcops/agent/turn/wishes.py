"""What the user wishes of a running turn, short of its end: that it waits, and what else it should know."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .. import events

if TYPE_CHECKING:
    from ..events import Block
    from ..journal.records import Turn
    from .recorder import Recorder


class Wishes:
    """Pause and steer of one turn."""

    def __init__(self, turn: Turn, recorder: Recorder) -> None:
        """Nothing is wished yet."""
        self._turn = turn
        self._recorder = recorder
        self._unpaused = asyncio.Event()
        self._unpaused.set()
        self._added: list[Block] = []
        self._steers = 0

    def pause(self) -> None:
        """Holds the turn before its next call or request."""
        if self._unpaused.is_set():
            self._unpaused.clear()
            self._recorder.emit(events.custom("paused", {"paused": True}))

    def resume(self) -> None:
        """Goes on after a pause."""
        if not self._unpaused.is_set():
            self._unpaused.set()
            self._recorder.emit(events.custom("paused", {"paused": False}))

    @property
    def paused(self) -> bool:
        """Whether the turn is held."""
        return not self._unpaused.is_set()

    async def unpaused(self) -> None:
        """Returns when the turn may go on."""
        await self._unpaused.wait()

    def steer(self, blocks: list[Block]) -> None:
        """Keeps what the user adds until the next request, and shows it now."""
        self._steers += 1
        name = f"{self._turn.id}.steer.{self._steers}"
        self._added.extend(blocks)
        self._recorder.emit(*events.user_text(name, blocks))

    @property
    def steered(self) -> bool:
        """Whether the user added something that no request carries yet."""
        return bool(self._added)

    def take(self) -> list[Block]:
        """What the user added; the next request carries it."""
        added, self._added = self._added, []
        return added
