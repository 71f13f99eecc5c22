"""What all renderers of an operation's events share: where in the plan a step stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from dcops.core.events import OperationEvent
    from dcops.core.plan import Plan


class Progress:
    """Takes events and shows nothing; the renderers build on it."""

    def __init__(self) -> None:
        self._order: list[str] = []

    def expect(self, plan: Plan) -> None:
        """Hear which steps will come."""
        self._order = [step.id for step in plan.steps]

    def emit(self, event: OperationEvent) -> None:
        """Show one event."""

    def close(self) -> None:
        """End whatever still moves on the screen."""

    def position(self, step: str) -> str:
        """``2/6``, or nothing for a step outside the plan."""
        return f"{self._order.index(step) + 1}/{len(self._order)}" if step in self._order else ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def length(seconds: float | None) -> str:
    """``0.4s``, ``1m24s``; nothing when it is not known."""
    if seconds is None:
        return ""
    return f"{seconds:.1f}s" if seconds < 100 else f"{int(seconds) // 60}m{int(seconds) % 60:02d}s"
