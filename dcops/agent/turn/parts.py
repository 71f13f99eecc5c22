"""What the turns of an instance have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ..calls.validation import Validation
    from ..events import Event
    from ..journal.journal import Journal
    from ..journal.records import Turn
    from ..model.transport import Transport
    from ..tools.registry import Registry


@dataclass(frozen=True, slots=True)
class Parts:
    """What all turns of an instance share; `seen` is told each event at once, for metrics.

    In `workspace` lie the sessions' own ones.
    """

    journal: Journal
    transport: Transport
    registry: Registry
    validation: Validation
    workspace: Path
    seen: Callable[[Turn, Event], None] | None = None
