"""What a turn may use up, and whether it has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .events import Toggles

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


@dataclass(frozen=True, slots=True)
class Reached:
    """A limit that a turn has reached: its name, which is the turn's stop reason, and its value."""

    limit: str
    value: int

    @property
    def reason(self) -> str:
        """Why the turn ends, as half a sentence."""
        return f"the limit of {self.value} {_UNITS[self.limit]} was reached ({_TOGGLES[self.limit]})"


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

    def reached(self, now: float, tokens_today: int) -> Reached | None:
        """The limit that forbids one more request, if there is one."""
        used = {
            "max_requests": self.requests,
            "max_seconds": now - self._began,
            "max_output_tokens": self.output_tokens,
            "daily_token_budget": tokens_today,
        }
        for limit, most in self._most.items():
            if most and used[limit] >= most:
                return Reached(limit, most)
        return None

    @property
    def seconds(self) -> Reached | None:
        """What the turn has reached once so many seconds are over; None when it may take any time."""
        most = self._most["max_seconds"]
        return Reached("max_seconds", most) if most else None

    @property
    def has_budget(self) -> bool:
        """Whether the tokens of the day matter."""
        return bool(self._most["daily_token_budget"])
