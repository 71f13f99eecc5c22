"""When a call may run: what the end of a block proves, and what it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..tools.tool import Effect

if TYPE_CHECKING:
    from ..events import Block
    from .call import Call


class Gate:
    """Holds sealed calls of one reply back until they are confirmed.

    A cut reply can close its last block, so only the next block's start or the stop reason `tool_use`
    confirms a call. A read-only call runs when it is sealed; unless it has no arguments, since an empty input
    is also what a call looks like that was cut before its first byte.
    """

    def __init__(self) -> None:
        """Nothing waits yet."""
        self._waiting: list[Call] = []
        self._early = True

    def sealed(self, call: Call) -> list[Call]:
        """A call ended and is valid; returns what may run now."""
        if self._early and call.arguments and call.tool.effect(call.arguments) is Effect.READONLY:
            return [call]
        self._waiting.append(call)
        return []

    def started(self, block: Block) -> list[Call]:
        """The next block began; returns what that confirms."""
        if block["type"] == "fallback":  # another model goes on: what it will stop with is open again
            self._early = False
        return self._release() if self._early else []

    def stopped(self, reason: str | None) -> list[Call]:
        """The model stopped; returns what that confirms."""
        return self._release() if reason == "tool_use" else []

    def _release(self) -> list[Call]:
        released, self._waiting = self._waiting, []
        return released
