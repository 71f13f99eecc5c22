"""What a tool is: a name, a schema, and an async iterator of outputs that ends with one result."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class Effect(Enum):
    """What running a call can change; it decides how early the call may start."""

    READONLY = "readonly"
    EFFECTS = "effects"


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """A piece of output while the tool runs."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """How far the tool is, from a real total only; `eta` in seconds when it can be told."""

    percent: float
    eta: float | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model is told; `status` is ``ok``, ``error`` or ``timeout``."""

    content: str
    status: str = "ok"
    exit_code: int | None = None
    directory: str | None = None
    """Where the session's shell stands now, if the tool is one."""

    @property
    def is_error(self) -> bool:
        """Whether the model is told that the call failed."""
        return self.status != "ok"


@dataclass(frozen=True, slots=True)
class ToolContext:
    """Where a call runs.

    Attributes:
        session: the session's id.
        workspace: the directory that the session's tools work in.
        output: the file that takes the full output of the call; a tool that has none leaves it alone.
        directory: where the session's last shell stood, also in an earlier instance; None if there was none.
    """

    session: str
    workspace: Path
    output: Path
    directory: str | None = None


class Tool(Protocol):
    """One tool. Its input was checked against `input_schema` before any other method sees it."""

    @property
    def name(self) -> str:
        """What the model calls it."""

    @property
    def description(self) -> str:
        """What the model is told about it."""

    @property
    def input_schema(self) -> dict[str, Any]:
        """JSON Schema of the input; with ``additionalProperties: false`` where a call has effects."""

    def effect(self, arguments: dict[str, Any]) -> Effect:
        """What a call with these arguments can change."""

    def lane(self, arguments: dict[str, Any]) -> str | None:
        """The resource that calls of one session take one after the other; None runs beside everything."""

    def run(
        self, arguments: dict[str, Any], context: ToolContext
    ) -> AsyncIterator[ToolOutput | ToolProgress | ToolResult]:
        """Runs a call; the last item is its ToolResult.

        A cancelled run leaves nothing behind that still works for it, within 200 ms.
        """

    async def close(self, session: str | None = None) -> None:
        """Ends what the tool keeps for a session, or for all of them."""
