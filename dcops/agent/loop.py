"""The turns of an instance, side by side: started, counted, recovered after a death, and closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from .calls.validation import Validation
from .turn.parts import Parts
from .turn.recovery import recover
from .turn.turn import TurnRun

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .events import Event, Toggles
    from .journal.journal import Journal
    from .journal.records import Turn
    from .model.transport import Transport
    from .tools.registry import Registry

ENDED = "the instance that ran it is being stopped"


class TurnRunner:
    """Runs turns side by side in the event loop that it is used in."""

    def __init__(
        self,
        journal: Journal,
        transport: Transport,
        registry: Registry,
        workspace: Path,
        seen: Callable[[Turn, Event], None] | None = None,
    ) -> None:
        """Connects the parts of an instance.

        Args:
            journal: opened by this instance; stays open until `close` has returned.
            transport: loaded or not; a turn waits for it.
            registry: the tools; closed by `close`.
            workspace: the directory that tools work in.
            seen: told each event of each turn as it happens, before it is on disk; must be quick.
        """
        self._parts = Parts(journal, transport, registry, Validation(registry), workspace, seen)
        self._runs: dict[str, TurnRun] = {}
        self._tasks: dict[str, asyncio.Task[bool]] = {}
        self._lost: list[Turn] = []

    @property
    def running(self) -> tuple[Turn, ...]:
        """The turns that run here."""
        return tuple(run.turn for run in self._runs.values())

    def start(self, turn: Turn, toggles: Toggles) -> asyncio.Task[bool]:
        """Runs a `fresh` turn of `Journal.start_turn`; a turn that runs already is not started again.

        Args:
            turn: the turn, owned by this instance.
            toggles: all toggle values; the turn keeps these to its end.

        Returns:
            The task that is done when the turn has ended; it never raises, and its result tells whether the
            journal could be written. If not, `recover` closes the turn.
        """
        if turn.id in self._tasks:
            return self._tasks[turn.id]
        self._runs[turn.id] = run = TurnRun(turn, self._parts, toggles)
        self._tasks[turn.id] = task = asyncio.create_task(run.run())
        task.add_done_callback(lambda _: self._forget(turn))
        return task

    def lose(self, turn: Turn) -> None:
        """Has `recover` close a turn of this instance that could not be started."""
        self._lost.append(turn)

    def _forget(self, turn: Turn) -> None:
        if not self._tasks.pop(turn.id).result():
            self._lost.append(turn)
        del self._runs[turn.id]

    async def idle(self) -> None:
        """Returns when no turn runs here."""
        while self._tasks:
            await asyncio.wait(self._tasks.values())

    async def recover(self) -> list[Turn]:
        """Closes turns of dead instances, and own ones that could not be closed; returns them.

        For when a session with such a turn is touched, and now and then; never needed at the start.
        """
        lost = tuple(self._lost)
        recovered = await asyncio.to_thread(recover, self._parts.journal, lost)
        del self._lost[: len(lost)]
        return recovered

    async def end_session(self, session: str) -> None:
        """Ends what tools keep for a session (its shell), before it is deleted."""
        await self._parts.registry.close(session)

    async def close(self, deadline: float = 0) -> None:
        """Waits up to `deadline` seconds for running turns, interrupts the rest, and ends the tools."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=deadline)
        for run in tuple(self._runs.values()):
            run.interrupt(ENDED)
        await self.idle()
        await self._parts.registry.close()
