"""What is done about a fault: whether to ask the model again, when, and how; pure, it waits for nothing."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Fault

RETRIES = 5
"""How often in a row a request is sent again of whose reply nothing had come."""

CONTINUATIONS = 3
"""How often in a row a turn goes on after a reply that broke off."""

BROKEN_STREAMS = 2
"""After so many streams in a row that broke before their first block, the reply is asked for whole."""

FIRST_WAIT = 0.5
LONGEST_WAIT = 16.0
"""Seconds; the waits double in between, and each is a random part of that."""

LONGEST_ASKED = 60.0
"""Seconds; a turn whose model asks for a longer wait ends instead."""

_STREAM = {"protocol_error", "stream_broken", "stream_ended", "stream_stalled"}
_PASSING = {
    "api_error",
    "connection_error",
    "overloaded_error",
    "rate_limit_error",
    "timeout_error",
} | _STREAM


@dataclass(frozen=True, slots=True)
class Again:
    """The model is asked again: for the `attempt`-th time in a row, after `seconds`, because of `reason`."""

    attempt: int
    seconds: float
    reason: str


class Attempts:
    """The faults in a row of one turn.

    Attributes:
        whole: whether replies are asked for whole, without a stream.
    """

    def __init__(self, *, whole: bool = False, chance: Callable[[], float] = random.random) -> None:
        """Begins without a fault; `chance` gives numbers from 0 to 1."""
        self.whole = whole
        self._chance = chance
        self._failed = 0
        self._broken = 0
        self._cut = 0

    def succeeded(self) -> None:
        """A reply came to its end."""
        self._failed = self._broken = self._cut = 0

    def after(self, fault: Fault, *, begun: bool) -> Again | None:
        """How to go on after a fault; None when the turn has to end with it.

        Args:
            fault: what happened to the request.
            begun: whether a part of its reply came. Then the turn goes on behind that part, as its calls may
                have run; otherwise the same request is sent again.
        """
        if not _passing(fault) or (fault.retry_after or 0) > LONGEST_ASKED:
            return None
        if begun:
            self._cut += 1
            self._failed = self._broken = 0
            return self._again(self._cut, fault) if self._cut <= CONTINUATIONS else None
        self._failed += 1
        return self._again(self._failed, fault) if self._failed <= RETRIES else None

    def _again(self, attempt: int, fault: Fault) -> Again:
        reason = f"{fault} ({fault.code})"
        if self._failed and fault.code in _STREAM and not self.whole:
            self._broken += 1
            self.whole = self._broken >= BROKEN_STREAMS
            reason += "; from now on replies are asked for whole" if self.whole else ""
        return Again(attempt, self._wait(attempt, fault.retry_after), reason)

    def _wait(self, attempt: int, asked: float | None) -> float:
        if asked is not None:
            return asked * (1 + self._chance() / 4)  # never earlier, and not all at the same moment
        return self._chance() * min(LONGEST_WAIT, FIRST_WAIT * 2.0 ** (attempt - 1))


def _passing(fault: Fault) -> bool:
    return fault.code in _PASSING if fault.passing is None else fault.passing
