"""A call as the model wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..tools.tool import Effect, Lane, Tool


@dataclass(frozen=True, slots=True)
class Call:
    """A sealed call of a known tool with valid arguments, and what its tool says of it."""

    id: str
    tool: Tool
    arguments: dict[str, Any]
    effect: Effect
    lane: Lane | None
    timeout: float
    """Seconds."""
