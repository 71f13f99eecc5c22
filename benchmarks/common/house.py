"""Our loop inside this process: journal on disk, the real transport, and a tool that takes its time."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

import structlog

from dcops.agent.journal.journal import Journal
from dcops.agent.loop import TurnRunner
from dcops.agent.model.transport import Transport
from dcops.agent.toggles import Schema
from dcops.agent.tools.registry import Registry
from dcops.agent.tools.tool import Tool, ToolContext, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from pathlib import Path

STAMPED = re.compile(r"t=(\d{10}\.\d{5})")


structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


class Task(Tool):
    """A tool that waits; it remembers when each of its calls began.

    Args:
        name: What the model calls it.
        seconds: How long it takes.
        readonly: Whether it may start before its call is confirmed.
    """

    description = "Waits."
    input_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {"id": {"type": "string"}, "text": {"type": "string"}},
        "required": ["id"],
        "additionalProperties": False,
    }

    def __init__(self, name: str, seconds: float = 0.0, *, readonly: bool = False) -> None:
        self.name = name
        self.readonly = readonly
        self._seconds = seconds
        self.began: dict[str, float] = {}

    async def run(self, arguments: dict[str, Any], _context: ToolContext) -> AsyncGenerator[ToolResult, None]:
        self.began[arguments["id"]] = time.monotonic()
        await asyncio.sleep(self._seconds)
        yield ToolResult("done")


class Watched(Transport):
    """The transport, with a memory of what arrived at the loop.

    Attributes:
        watching: Whether it remembers; where CPU is measured it must not.
        arrived: When each event came, a list for each reply.
        late: Seconds by which events that have a stamp were late.
    """

    def __init__(self, base_url: str, key: str = "none") -> None:
        super().__init__(base_url, key)
        self.watching = True
        self.arrived: list[list[float]] = []
        self.late: list[float] = []

    @asynccontextmanager
    async def stream(self, *arguments: Any, **named: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        async with super().stream(*arguments, **named) as events:
            yield self._watched(events) if self.watching else events

    async def _watched(self, events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
        arrived: list[float] = []
        self.arrived.append(arrived)
        async for event in events:
            now = time.monotonic()
            arrived.append(now)
            text = event.get("delta", {}).get("text", "")
            if stamp := STAMPED.search(text):
                self.late.append(now - float(stamp[1]))
            yield event


class House:
    """One instance without its service."""

    def __init__(
        self, directory: Path, base_url: str, *tools: Task, key: str = "none", **toggles: Any
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.journal = Journal.open(directory / "state", "benchmark")
        self.transport = Watched(base_url, key)
        self._runner = TurnRunner(self.journal, self.transport, Registry(tools), directory)
        self._toggles = Schema.load().complete(toggles)

    async def turn(self, text: str = "go") -> str:
        """A turn to its end, in a session of its own; returns the session."""
        session = self.journal.create_session()
        await self._runner.start(self.journal.start_turn(session, text), self._toggles)
        last = self.journal.events(session, limit=1_000_000)[-1][1]
        if last.type != "RUN_FINISHED":
            raise RuntimeError(f"the turn did not end well: {last}")
        return session

    async def until_result(self, text: str = "go") -> float:
        """Seconds from a turn's start until a first result can be read; then the turn is stopped."""
        session = self.journal.create_session()
        began = time.monotonic()
        turn = self.journal.start_turn(session, text)
        with self.journal.follow(session) as news:
            running = self._runner.start(turn, self._toggles)
            while not any(event.type == "TOOL_CALL_RESULT" for _, event in self.journal.events(session)):
                await news.wait()
        seconds = time.monotonic() - began
        self.journal.request_control(session, "stop")
        await running
        return seconds

    def usage(self, session: str) -> list[dict[str, Any]]:
        """What the API counted, a dict for each reply."""
        told = (event.data for _, event in self.journal.events(session, limit=1_000_000))
        return [data["value"] for data in told if data.get("name") == "usage"]

    async def close(self) -> None:
        await self._runner.close()
        await self.transport.close()
        self.journal.close()
