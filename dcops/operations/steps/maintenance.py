"""Turn maintenance on or off: a flag that the proxy looks at with each request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.operations.current import MAINTENANCE

if TYPE_CHECKING:
    from dcops.operations.steps.run import Run


def do(run: Run) -> None:
    _flag(run, run.values["maintenance"]["after"])


def undo(run: Run) -> None:
    _flag(run, run.values["maintenance"]["before"])


def _flag(run: Run, seconds: int | None) -> None:
    run.place.store.write({MAINTENANCE: None if seconds is None else f"{seconds}\n".encode()})
