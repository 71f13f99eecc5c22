"""The tools of an agent, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from .bash import Bash
from .files import Files

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .tool import Tool

log = structlog.get_logger(__name__)


class Registry:
    """Which tools there are; the order is theirs in every request, so that prompts stay cacheable."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        """Takes the tools in the order in which the model is told about them.

        Raises:
            ValueError: two have the same name, or one that can have effects takes more than it declares.
        """
        self._tools: dict[tuple[str | None, str], Tool] = {}
        for tool in tools:
            key = (tool.toolset, tool.name)
            if key in self._tools:
                raise ValueError(f"there are two tools {tool.name!r}")
            if not tool.readonly and tool.input_schema.get("additionalProperties") is not False:
                raise ValueError(
                    f"the tool {tool.name!r} can have effects, and its input_schema lets anything through: "
                    "add additionalProperties: false, or say readonly if no call of it changes anything"
                )
            self._tools[key] = tool

    def get(self, name: str, toolset: str | None = None) -> Tool | None:
        """The tool of that name, if there is one; names of a toolset's members are their own."""
        return self._tools.get((toolset, name))

    def __iter__(self) -> Iterator[Tool]:
        """All tools in their order."""
        return iter(self._tools.values())

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(tool.name for tool in self)

    def definitions(self, *, eager: bool = False) -> list[dict[str, Any]]:
        """What the API is told about the tools.

        Args:
            eager: whether the model can stream large inputs as it writes them.
        """
        return [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.input_schema,
                **({"eager_input_streaming": True} if eager and tool.large_input else {}),
            }
            for tool in self
        ]

    async def close(self, session: str | None = None) -> None:
        """Ends what the tools keep for a session, or for all of them; one that fails is named in the log."""
        for tool in self:
            try:
                await tool.close(session)
            except Exception:  # the others have processes to end, too
                log.exception("tool.unclosed", tool=tool.name)


def default_registry() -> Registry:
    """The tools that this agent ships with."""
    return Registry([Bash(), Files()])
