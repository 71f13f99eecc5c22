"""What an operation announces while it runs; renderers turn it into text or JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["started", "ok", "failed", "skipped", "note", "undone"]


@dataclass(frozen=True, slots=True)
class OperationEvent:
    """One thing that happened.

    Attributes:
        step: Id of the plan's step, empty for the operation as a whole.
        state: What became of it; ``note`` is talk within the step.
        text: For people, one line.
        seconds: How long the step took, with ``ok`` and ``failed``.
        data: For machines.
    """

    step: str
    state: State
    text: str = ""
    seconds: float | None = None
    data: dict[str, Any] = field(default_factory=dict)


Emit = Callable[[OperationEvent], None]
