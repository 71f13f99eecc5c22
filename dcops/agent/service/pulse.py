"""Wakes everybody who waits for the next change of this instance."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Coroutine


class Pulse:
    """A beat that wakes all waiters at once, and none of those who come later."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def beat(self) -> None:
        """Wake everybody who waits now."""
        self._event.set()
        self._event = asyncio.Event()

    def next(self) -> Coroutine[None, None, bool]:
        """Wait for the next beat after this call, even if the waiting itself starts later."""
        return self._event.wait()
