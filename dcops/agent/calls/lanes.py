"""Who may run: calls that need the same thing one after the other, and not too many at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..tools.tool import Lane


@dataclass(eq=False, slots=True)
class Ticket:
    """A place in the order of calls; `admitted` is set once its call may run."""

    lane: Lane | None
    admitted: asyncio.Event = field(default_factory=asyncio.Event)

    def bars(self, other: Ticket) -> bool:
        """Whether the other one has to wait for this one."""
        mine, theirs = self.lane, other.lane
        if mine is None or theirs is None or mine.name != theirs.name:
            return False
        return not (mine.shared and theirs.shared)


class Lanes:
    """Admits calls in their order; one that waits for its lane takes no slot from the others."""

    def __init__(self, slots: int) -> None:
        """Takes how many may run at once."""
        self._slots = slots
        self._running: list[Ticket] = []
        self._waiting: list[Ticket] = []

    def enter(self, lane: Lane | None) -> Ticket:
        """A ticket behind all others; admitted at once where nothing is in its way."""
        ticket = Ticket(lane)
        self._waiting.append(ticket)
        self._admit()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Makes way for the others, whether the ticket was admitted or not."""
        (self._running if ticket in self._running else self._waiting).remove(ticket)
        self._admit()

    def _admit(self) -> None:
        ahead = [*self._running]
        for ticket in tuple(self._waiting):
            if len(self._running) == self._slots:
                return
            if not any(other.bars(ticket) for other in ahead):
                self._waiting.remove(ticket)
                self._running.append(ticket)
                ticket.admitted.set()
            ahead.append(ticket)
