"""What one running server holds."""

from __future__ import annotations

from dataclasses import dataclass, field

from .callers import Callers
from .issued import Issued


@dataclass
class State:
    """The whole state of a server; it lives in memory only.

    Args:
        release: the release that runs, as the engine named it.
        instance: the instance's id.
    """

    release: str = "unreleased"
    instance: str = "alone"
    callers: Callers = field(default_factory=Callers)
    issued: Issued = field(default_factory=Issued)
    running: set[object] = field(default_factory=set)
