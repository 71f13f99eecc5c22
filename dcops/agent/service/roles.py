"""The role of this instance: whether it takes turns, and when it has nothing left to do."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import structlog

log = structlog.get_logger()

TAKES_TURNS = frozenset({"candidate", "serving", "twin"})
GOES_AWAY = frozenset({"warm", "draining"})


class Roles:
    """What the instance was asked to be, and what it is.

    Attributes:
        asked: The role that the last good `role.json` names.
        acknowledged: The role in force. It differs from `asked` when there is no way back: an
            instance that drains, or was told to stop, stays `draining`.
    """

    def __init__(self) -> None:
        self.asked = "candidate"
        self.acknowledged = "candidate"
        self._ends: float | None = None
        self._stopping = False
        self._changed = asyncio.Event()

    def offer(self, document: bytes | None) -> None:
        """Take `{"role", "for_seconds"}`; keep the last good one if it is bad."""
        try:
            role, seconds = _parse(document)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("role.refused_document", error=repr(error))
            return
        self.asked = role
        no_way_back = self._stopping or (self.acknowledged == "draining" and role != "draining")
        if not no_way_back:
            self._become(role, seconds)

    def stop(self, seconds: float) -> None:
        """Drain because the process was told to end; running turns have `seconds` left."""
        self._stopping = True
        self._become("draining", seconds)

    def _become(self, role: str, seconds: float | None) -> None:
        self.acknowledged = role
        self._ends = time.monotonic() + seconds if seconds is not None and role in GOES_AWAY else None
        log.info("role.acknowledged", role=role, for_seconds=seconds)
        # Everybody who waits holds the old event; later waiters get the new one.
        self._changed.set()
        self._changed = asyncio.Event()

    @property
    def takes_turns(self) -> bool:
        """Whether new turns may start here."""
        return self.acknowledged in TAKES_TURNS

    @property
    def time_is_up(self) -> bool:
        """Whether the time of a warm or draining instance is over."""
        return self._ends is not None and time.monotonic() >= self._ends

    def finished(self, running_turns: int) -> bool:
        """Whether the instance has nothing left to do and should end."""
        if running_turns:
            return False
        return self.acknowledged == "draining" or (self.acknowledged == "warm" and self.time_is_up)

    async def changed(self) -> None:
        """Wait until another role is in force."""
        await self._changed.wait()

    def report(self) -> dict[str, Any]:
        """The fields of `/v1/instance` about the role."""
        return {"role": self.asked, "role_acknowledged": self.acknowledged}


def _parse(document: bytes | None) -> tuple[str, float | None]:
    decoded = orjson.loads(document or b"")
    role, seconds = decoded["role"], decoded["for_seconds"]
    if role not in TAKES_TURNS | GOES_AWAY:
        raise ValueError(f"unknown role {role!r}")
    if seconds is not None and (type(seconds) not in {int, float} or seconds < 0):
        raise ValueError(f"for_seconds must be null or a number of seconds, not {seconds!r}")
    return role, seconds
