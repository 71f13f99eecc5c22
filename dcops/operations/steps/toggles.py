"""Write a toggle generation, and wait until the instances say that they follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.core.deployment import ToggleState
from dcops.errors import OperationFailed
from dcops.operations.delivery import acknowledgements, await_generation, deliver, must_acknowledge

if TYPE_CHECKING:
    from dcops.operations.steps.run import Run
    from dcops.records.instances import InstanceRecord


def do(run: Run) -> None:
    if run.plan.kind == "toggle":
        _flip(run)
        return
    record = run.record(run.plan.candidate)
    deliver(run.place, run.toggles, [record])
    if not await_generation(run.place, record, run.toggles.generation):
        raise OperationFailed(
            "DC-TOGGLES-NOT-ACKNOWLEDGED",
            f"instance {record.id} did not acknowledge toggle generation {run.toggles.generation}",
            cause="toggles",
            do=f"dcops logs {run.place.name}",
        )


def undo(run: Run) -> None:
    state = ToggleState(run.toggles.generation + 1, run.plan.before.values)
    serving = run.current.record
    told = _all(run) if run.plan.kind == "toggle" else [serving] if serving else []
    deliver(run.place, state, told)


def _flip(run: Run) -> None:
    """Tell every instance; one that is late is named, and follows when it can."""
    deliver(run.place, run.toggles, _all(run))
    must = must_acknowledge(run.place, run.current)
    answers = acknowledgements(run.place, must, run.toggles.generation)
    run.values["acknowledged"] = {each.instance: each.milliseconds for each in answers}
    run.values["late"] = [each.instance for each in answers if each.milliseconds is None]


def _all(run: Run) -> list[InstanceRecord]:
    # What does not run now may be started again, and then reads what is written here.
    return [record for name, record in run.current.records.items() if name != run.current.model]
