from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from structlog.testing import capture_logs

from dcops.agent.tools.registry import Registry
from dcops.agent.tools.tool import Tool, ToolContext, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Closing(Tool):
    """Notes its end, or fails at it."""

    description = "Stands in."
    readonly = True
    input_schema = {"type": "object"}  # noqa: RUF012

    def __init__(self, name: str, closed: list[str]) -> None:
        self.name = name
        self._closed = closed

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> AsyncGenerator[ToolResult, None]:
        yield ToolResult(f"{arguments} {context}")

    async def close(self, session: str | None = None) -> None:
        if self.name == "bad":
            raise RuntimeError("it hangs")
        self._closed.append(f"{self.name} {session}")


def test_a_tool_that_cannot_be_closed_keeps_no_other_open() -> None:
    closed: list[str] = []
    registry = Registry([Closing(name, closed) for name in ("one", "bad", "two")])
    with capture_logs() as logs:
        asyncio.run(registry.close("s"))
    assert closed == ["one s", "two s"]
    assert [(entry["event"], entry["tool"]) for entry in logs] == [("tool.unclosed", "bad")]
