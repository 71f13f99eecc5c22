"""The limits of models: as the API tells them, asked once for each model, else as the table knows them."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog

from .models import model, told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from .models import Model

MOMENT = 0.5
"""Seconds that a turn waits for the answer; it starts with the table's limits otherwise."""

PATIENCE = 10.0
"""Seconds until an answer counts as missing."""

AGAIN = 300.0
"""Seconds after which a question without an answer is asked again."""

log = structlog.get_logger(__name__)


class Catalogue:
    """What is known of models; a question that failed or takes long keeps no turn from running."""

    def __init__(self, ask: Callable[[str], Awaitable[Mapping[str, Any]]]) -> None:
        """Takes what asks the models endpoint for one model; whatever it raises is no answer."""
        self._ask = ask
        self._told: dict[str, Model] = {}
        self._asking: dict[str, asyncio.Task[None]] = {}
        self._not_before: dict[str, float] = {}

    async def limits(self, name: str) -> Model:
        """A model's limits, as well as they can be known in a moment."""
        if name not in self._told and time.monotonic() >= self._not_before.get(name, 0):
            if name not in self._asking:
                self._asking[name] = asyncio.create_task(self._find(name))
            await asyncio.wait({self._asking[name]}, timeout=MOMENT)
        return self._told.get(name) or model(name)

    async def _find(self, name: str) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                self._told[name] = told(await self._ask(name), model(name))
        except Exception as error:  # no network, no such model, no such endpoint: the table has to do
            log.info("model.not_told", model=name, error=f"{type(error).__name__}: {error}")
            self._not_before[name] = time.monotonic() + AGAIN
        finally:
            del self._asking[name]
