"""Run a plan under the lock of its environment: nothing beside it, nothing half done before it."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dcops.errors import DcopsError
from dcops.operations import candidates
from dcops.operations.current import Current, observe, refuse_unfinished
from dcops.operations.execute import execute
from dcops.operations.interrupts import Signals, interruptible
from dcops.operations.steps.run import Run
from dcops.operations.sweep import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from dcops.core.plan import Plan
    from dcops.operations.world import Place
    from dcops.records.lock import EnvironmentLock


@dataclass(frozen=True)
class Transaction:
    """The lock of an environment, held."""

    place: Place
    lock: EnvironmentLock
    signals: Signals

    def look(self) -> Current:
        """What runs now; nobody else changes it until the lock is released.

        Raises:
            PreconditionMissing: An operation was interrupted and is unfinished.
        """
        current = observe(self.place)
        refuse_unfinished(current, self.place.name)
        return current

    def run(
        self,
        plan: Plan,
        current: Current,
        *,
        began: float,
        values: dict[str, Any] | None = None,
        done: Sequence[str] = (),
    ) -> Run:
        """Run the plan's steps that are not done, and remove what crashes and drains left behind.

        Args:
            values: What steps find out before any of them runs, so that the journal has it.

        Raises:
            OperationFailed: A step failed, and all was taken back.
        """
        # What is new needs the room that leftovers take; a flip or a quick return does not wait for it.
        first = plan.has("start")
        if first:
            sweep(self.place, current, keep={plan.candidate})
        if plan.kind == "deploy" and current.failed is not None:
            candidates.forget(self.place, current.failed)
        run = Run(self.place, plan, current, began, {} if values is None else values)
        self.place.journal.begin(plan, done)
        execute(run, self.lock, self.signals, done=done)
        if not first:
            self._sweep(current, plan.candidate)
        return run

    def _sweep(self, current: Current, candidate: str) -> None:
        """What was done stands, whatever becomes of the leftovers; the next command finds them again."""
        try:
            sweep(self.place, current, keep={candidate})
        except DcopsError as error:
            self.place.say("", f"leftovers stay for now: {error}")


@contextmanager
def transaction(place: Place, operation: str, *, wait: float = 0.0) -> Iterator[Transaction]:
    """Take the lock; a signal within takes back what was done.

    Args:
        wait: Seconds to wait for another holder.

    Raises:
        PreconditionMissing: Another operation holds the lock.
    """
    with interruptible() as signals, place.lock.acquire(operation, wait=wait) as lock:
        yield Transaction(place, lock, signals)
