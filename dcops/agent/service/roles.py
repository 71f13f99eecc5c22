"""The role of this instance: whether it takes turns, and when it has nothing left to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import orjson
import structlog

if TYPE_CHECKING:
    from .pulse import Pulse

log = structlog.get_logger()

TAKES_TURNS = frozenset({"candidate", "serving", "twin"})
GOES_AWAY = frozenset({"warm", "draining"})


class Roles:
    """What the instance was asked to be, and what it is.

    Args:
        pulse: Beats when another role is in force.

    Attributes:
        asked: The role that the last good `role.json` names.
        acknowledged: The role in force. It differs from `asked` when there is no way back: an
            instance that drains, or was told to stop, stays `draining`.
        stopping: Whether the process was told to end.
    """

    def __init__(self, pulse: Pulse) -> None:
        self.asked = "candidate"
        self.acknowledged = "candidate"
        self._ends: float | None = None
        self.stopping = False
        self._pulse = pulse

    def offer(self, document: bytes | None) -> None:
        """Take `{"role", "for_seconds"}`; keep the last good one if it is bad."""
        try:
            role, seconds = _parse(document)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("role.refused_document", error=repr(error))
            return
        self.asked = role
        no_way_back = self.stopping or (self.acknowledged == "draining" and role != "draining")
        if not no_way_back:
            self._become(role, seconds)

    def stop(self, seconds: float) -> None:
        """Drain because the process was told to end; running turns have `seconds` left."""
        self.stopping = True
        self._become("draining", seconds)

    def _become(self, role: str, seconds: float | None) -> None:
        self.acknowledged = role
        self._ends = time.monotonic() + seconds if seconds is not None and role in GOES_AWAY else None
        log.info("role.acknowledged", role=role, for_seconds=seconds)
        self._pulse.beat()

    @property
    def takes_turns(self) -> bool:
        """Whether new turns may start here."""
        return self.acknowledged in TAKES_TURNS

    @property
    def serves(self) -> bool:
        """Whether this is the instance that users reach."""
        return self.acknowledged == "serving"

    @property
    def goes_away(self) -> bool:
        """Whether clients should turn to another instance."""
        return self.acknowledged in GOES_AWAY

    @property
    def _time_is_up(self) -> bool:
        return self._ends is not None and time.monotonic() >= self._ends

    @property
    def must_close_turns(self) -> bool:
        """Whether turns that still run have to be interrupted now."""
        return self.acknowledged == "draining" and self._time_is_up

    def finished(self, running_turns: int) -> bool:
        """Whether the instance has nothing left to do and should end."""
        if running_turns:
            return False
        return self.acknowledged == "draining" or (self.acknowledged == "warm" and self._time_is_up)

    def report(self) -> dict[str, Any]:
        """The fields of `/v1/instance` about the role."""
        return {"role": self.asked, "role_acknowledged": self.acknowledged}


def _parse(document: bytes | None) -> tuple[str, float | None]:
    decoded = orjson.loads(document or b"")
    role, seconds = decoded["role"], decoded.get("for_seconds")
    if role not in TAKES_TURNS | GOES_AWAY:
        raise ValueError(f"unknown role {role!r}")
    if seconds is not None and (type(seconds) not in {int, float} or seconds < 0):
        raise ValueError(f"for_seconds must be null or a number of seconds, not {seconds!r}")
    return role, seconds
