"""When a call may run: what the end of a block proves, and what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..tools.tool import Effect

if TYPE_CHECKING:
    from ..events import Block, Toggles
    from .call import Call


class Gate:
    """Holds sealed calls of one reply back until they may run.

    A cut reply can close its last block, so only the next block's start or the stop reason `tool_use`
    confirms a call. A read-only call runs when it is sealed; unless it has no arguments, since an empty input
    is also what a call looks like that was cut before its first byte. The toggles can make calls wait longer,
    never shorter.
    """

    def __init__(self, toggles: Toggles) -> None:
        """Nothing waits yet; `toggles` are the turn's."""
        mode = toggles["eager_tools"] if toggles["enable_tool_buffer"] else "off"
        self._waiting: list[Call] = []
        self._early = {"off": (), "readonly": (Effect.READONLY,), "confirmed": tuple(Effect)}[mode]
        self._open = False
        self._called = False

    def sealed(self, call: Call) -> list[Call]:
        """A call ended and is valid; returns what may run now."""
        if call.effect is Effect.READONLY and call.arguments and self._early and not self._open:
            return [call]
        self._waiting.append(call)
        return []

    def started(self, block: Block) -> list[Call]:
        """The next block began; returns what that confirms."""
        if block["type"] == "fallback":  # another model goes on: what it will stop with is open again
            self._open = True
        return [] if self._open else self._release()

    def stopped(self, reason: str | None) -> list[Call]:
        """The model stopped; returns what that confirms."""
        self._called = reason == "tool_use"
        return self._release() if self._called else []

    def ended(self) -> list[Call]:
        """The reply ended; returns what waited for that."""
        released, self._waiting = self._waiting if self._called else [], []
        return released

    def _release(self) -> list[Call]:
        released = [call for call in self._waiting if call.effect in self._early]
        self._waiting = [call for call in self._waiting if call not in released]
        return released
