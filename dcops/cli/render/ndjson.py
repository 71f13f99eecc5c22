"""Events as JSON lines on stdout; the command's result is the last one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dcops.cli.render.progress import Progress

if TYPE_CHECKING:
    from dcops.cli.console import Console
    from dcops.core.events import OperationEvent
    from dcops.core.plan import Plan


class JsonLines(Progress):
    """One ``dcops.event/1`` object a line.

    Args:
        operation: ``op`` of each line until a plan gives the operation its id.
    """

    def __init__(self, console: Console, operation: str) -> None:
        super().__init__()
        self._console = console
        self._operation = operation
        self._seq = 0

    def expect(self, plan: Plan) -> None:
        """Take the operation's id, and say what will be done."""
        super().expect(plan)
        self._operation = plan.id
        self._write({"type": "plan", "plan": plan.to_json()})

    def emit(self, event: OperationEvent) -> None:
        milliseconds = None if event.seconds is None else round(event.seconds * 1000)
        shown = {"step": event.step, "state": event.state, "ms": milliseconds, "text": event.text}
        self._write({"type": "event", **shown, "data": event.data})

    def _write(self, fields: dict[str, Any]) -> None:
        self._seq += 1
        head = {"schema": "dcops.event/1", "op": self._operation, "seq": self._seq, "at": time.time()}
        self._console.report(head | fields)
