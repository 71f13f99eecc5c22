"""What a turn may use up, and whether it has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..events import Toggles

_TOGGLES = {
    "max_requests": "max_requests_per_turn",
    "max_seconds": "max_turn_seconds",
    "max_output_tokens": "max_output_tokens_per_turn",
    "daily_token_budget": "daily_token_budget",
}
_UNITS = {
    "max_requests": "requests to the model in one turn",
    "max_seconds": "seconds for one turn",
    "max_output_tokens": "tokens written in one turn",
    "daily_token_budget": "tokens a day in this environment",
}


class LimitReached(Exception):
    """A turn has used up what it may: `limit` names which, as the turn's stop reason does, `value` how much.

    The text says why the turn ends, as half a sentence.
    """

    def __init__(self, limit: str, value: int) -> None:
        super().__init__(f"the limit of {value} {_UNITS[limit]} was reached ({_TOGGLES[limit]})")
        self.limit = limit
        self.value = value


class Limits:
    """The limits of one turn, and what it has used up of them.

    Attributes:
        requests: how many replies were asked for.
        output_tokens: how many tokens the model wrote.
    """

    def __init__(self, toggles: Toggles, now: float) -> None:
        """Begins at `now`, in seconds of any steady clock; a toggle of 0 is no limit."""
        self._most = {limit: int(toggles[toggle]) for limit, toggle in _TOGGLES.items()}
        self._began = now
        self.requests = 0
        self.output_tokens = 0

    def check(self, now: float, tokens_today: int) -> None:
        """Whether one more request may be made.

        Raises:
            LimitReached: It may not.
        """
        used = {
            "max_requests": self.requests,
            "max_seconds": now - self._began,
            "max_output_tokens": self.output_tokens,
            "daily_token_budget": tokens_today,
        }
        for limit, most in self._most.items():
            if most and used[limit] >= most:
                raise LimitReached(limit, most)

    @property
    def seconds(self) -> LimitReached | None:
        """What ends the turn once so many seconds are over; None when it may take any time."""
        most = self._most["max_seconds"]
        return LimitReached("max_seconds", most) if most else None
