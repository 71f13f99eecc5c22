"""The tools of an agent, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .bash import Bash
from .files import Files

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .tool import Tool


class Registry:
    """Which tools there are; the order is theirs in every request, so that prompts stay cacheable."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        """Takes the tools in the order in which the model is told about them."""
        self._tools = {tool.name: tool for tool in tools}

    def get(self, name: str) -> Tool | None:
        """The tool of that name, if there is one."""
        return self._tools.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """All names."""
        return tuple(self._tools)

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
                **({"eager_input_streaming": True} if eager and getattr(tool, "large_input", False) else {}),
            }
            for tool in self._tools.values()
        ]

    async def close(self, session: str | None = None) -> None:
        """Ends what the tools keep for a session, or for all of them."""
        for tool in self._tools.values():
            await tool.close(session)


def default_registry() -> Registry:
    """The tools that this agent ships with."""
    return Registry([Bash(), Files()])
