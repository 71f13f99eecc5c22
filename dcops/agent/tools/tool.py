"""What a tool is: a name, a schema, and an async generator of outputs that ends with one result."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, Literal

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path


class Effect(Enum):
    """What running a call can change; it decides how early the call may start."""

    READONLY = "readonly"
    EFFECTS = "effects"


@dataclass(frozen=True, slots=True)
class Lane:
    """A resource that calls of one turn use one after the other; those that `share` it run side by side."""

    name: str
    shared: bool = False

    @classmethod
    def of_file(cls, path: Path, *, shared: bool = False) -> Lane:
        """The lane of a file or directory, the same through each symbolic link; who only reads shares it."""
        return cls(f"file {os.path.realpath(path)}", shared)


@dataclass(frozen=True, slots=True)
class ToolOutput:
    """A piece of output while the tool runs."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolProgress:
    """How much of a real total is done, in any unit; a tool that knows no total tells no progress."""

    done: float
    total: float


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What the model is told."""

    content: str
    status: Literal["done", "failed", "timed_out"] = "done"
    exit_code: int | None = None
    directory: str | None = None
    """Where the session's shell stands now, if the tool is one."""
    retryable: bool = False
    """Whether the same call may do better in a moment, and nothing of it has taken effect."""


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


class Tool(ABC):
    """One tool. Its input was checked against `input_schema` before any method sees it.

    All methods but `run` and `close` are asked while the model still writes: they answer in microseconds.

    Attributes:
        name: what the model calls it.
        description: what the model is told about it.
        input_schema: JSON Schema of the input; with ``additionalProperties: false`` unless `readonly`.
        toolset: the API's toolset that it is a member of; members are known by toolset and name.
        readonly: whether no call of it ever changes anything.
        large_input: whether its input can be long enough that the API had better stream it unchecked.
        streams_by: the toggle that shows its output while it runs; with none it is always shown.
    """

    name: str
    description: str
    input_schema: ClassVar[dict[str, Any]]
    toolset: str | None = None
    readonly: bool = False
    large_input: bool = False
    streams_by: str = ""

    def effect(self, arguments: dict[str, Any]) -> Effect:
        """What a call with these arguments can change."""
        del arguments
        return Effect.READONLY if self.readonly else Effect.EFFECTS

    def refusal(self, arguments: dict[str, Any], context: ToolContext) -> str | None:
        """Why a call is not run although it fits the schema, as a sentence for the model; None if it is."""
        del arguments, context
        return None

    def lane(self, arguments: dict[str, Any], context: ToolContext) -> Lane | None:
        """The resource that a call needs; None runs beside everything."""
        del arguments, context
        return None

    def timeout(self, arguments: dict[str, Any]) -> float:
        """Seconds after which a call is ended, its retries included."""
        del arguments
        return 60.0

    @abstractmethod
    def run(
        self, arguments: dict[str, Any], context: ToolContext
    ) -> AsyncGenerator[ToolOutput | ToolProgress | ToolResult, None]:
        """Runs a call; its ToolResult ends it.

        A cancelled run leaves nothing behind that still works for it, within 200 ms.
        """

    async def close(self, session: str | None = None) -> None:  # noqa: B027 - most tools keep nothing
        """Ends what the tool keeps for a session, or for all of them."""
