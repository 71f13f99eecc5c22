"""A call as the model wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..tools.tool import Tool


@dataclass(frozen=True, slots=True)
class Call:
    """A sealed call of a known tool with valid arguments."""

    id: str
    tool: Tool
    arguments: dict[str, Any]
