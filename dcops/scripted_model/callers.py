"""Who calls, what each is to hear, and what each has sent."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .scripts import Reply, Script

_KEPT_REQUESTS = 1000


def digest(key: str) -> str:
    """The name of the caller that sends this key."""
    return hashlib.sha256(key.encode()).hexdigest()


class Gates:
    """Named places where streams stand until somebody opens them; an open gate stays open."""

    def __init__(self) -> None:
        self._events: dict[str, asyncio.Event] = {}
        self._waiting: list[str] = []

    def open(self, name: str) -> None:
        self._event(name).set()

    def open_all(self) -> None:
        for event in self._events.values():
            event.set()

    async def wait(self, name: str) -> None:
        self._waiting.append(name)
        try:
            await self._event(name).wait()
        finally:
            self._waiting.remove(name)

    def state(self) -> dict[str, list[str]]:
        opened = [name for name, event in self._events.items() if event.is_set()]
        return {"opened": opened, "waiting": sorted(self._waiting)}

    def _event(self, name: str) -> asyncio.Event:
        return self._events.setdefault(name, asyncio.Event())


@dataclass
class Caller:
    """One caller's script and how far it has come."""

    script: Script
    consumed: int = 0
    gates: Gates = field(default_factory=Gates)
    requests: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=_KEPT_REQUESTS))

    def next_reply(self) -> Reply | None:
        """The reply that is due; None when the script is used up."""
        replies = self.script.replies
        if self.consumed >= len(replies) and self.script.after != "repeat":
            return None
        reply = replies[self.consumed % len(replies)]
        self.consumed += 1
        return reply

    def state(self) -> dict[str, Any]:
        return {
            "replies": len(self.script.replies),
            "after": self.script.after,
            "consumed": self.consumed,
            "requests": len(self.requests),
            "gates": self.gates.state(),
        }


class Callers:
    """All callers that have a script, by the sha256 of their key.

    Args:
        default: the script of a caller that was given none; each plays it from its beginning.
    """

    def __init__(self, default: Script | None = None) -> None:
        self._default = default
        self._scripted: dict[str, Caller] = {}

    def find(self, name: str) -> Caller | None:
        """The caller; None when nothing is scripted for it."""
        if name not in self._scripted and self._default:
            self._scripted[name] = Caller(self._default)
        return self._scripted.get(name)

    def put(self, name: str, script: Script) -> Caller:
        """Give a caller a new script; streams that stand at a gate of the old one go on."""
        self.drop(name)
        self._scripted[name] = Caller(script)
        return self._scripted[name]

    def drop(self, name: str) -> bool:
        """Take a caller's script away; false when there was none."""
        caller = self._scripted.pop(name, None)
        if caller:
            caller.gates.open_all()
        return caller is not None
