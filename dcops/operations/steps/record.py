"""Write down what was done: the commit point of a plan."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dcops.core.deployment import Deployment, Entry, ToggleState, deployments
from dcops.core.toggles import changes
from dcops.errors import DcopsError, OperationFailed
from dcops.operations.delivery import await_generation, deliver
from dcops.records import toggles
from dcops.records.lock import actor

if TYPE_CHECKING:
    from collections.abc import Collection

    from dcops.core.plan import Plan
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place


def do(run: Run) -> None:
    plan = run.plan
    made = deployments(run.current.entries)
    # A crash may have come between the line of history and what follows it.
    deployment = made_by(plan, run.current.entries)
    if deployment is None:
        deployment = _deployment(run, number=made[-1].number + 1 if made else 1)
        run.place.store.write(toggles.files(run.toggles))
        run.place.history.append(entry(run, "ok", deployment))
    run.values["deployment"] = deployment.to_json()
    names = {change.name for change in changes(plan.before.values, plan.revision.toggles)}
    write_toggle_file(run.place, plan.revision.toggles, names)


def made_by(plan: Plan, entries: list[Entry]) -> Deployment | None:
    """The deployment that a plan has made: from the line of history on it stands."""
    made = deployments(entries)
    return made[-1] if made and made[-1].operation == plan.id else None


def _deployment(run: Run, *, number: int) -> Deployment:
    plan = run.plan
    return Deployment(
        number=number,
        operation=plan.id,
        revision=plan.revision,
        instance=plan.candidate,
        generation=run.toggles.generation,
        undoes=plan.undoes,
        restores=plan.restores,
        toggles_set=plan.toggles_set,
        backup=run.values.get("backup", ""),
        state=journal_id(run.place),
        at=time.time(),
    )


def entry(run: Run, result: str, deployment: Deployment | None = None, error: str = "") -> Entry:
    """The line of history for this run."""
    data = {key: value for key, value in run.values.items() if key in {"verification", "backup"}}
    return Entry(
        kind=run.plan.kind,
        result=result,  # type: ignore[arg-type]  # one of Entry's words, given by the callers here
        at=run.started,
        seconds=round(time.time() - run.started, 3),
        by=actor(),
        reason=run.plan.reason,
        deployment=deployment,
        data=data | ({"error": error} if error else {}) | {"release": run.plan.revision.release},
    )


def journal_id(place: Place) -> str:
    """The session journal's id that the serving instance names; empty for implementations without one."""
    try:
        return str(place.client().instance().get("state", {}).get("id", ""))
    except DcopsError:
        return ""


def write_toggle_file(place: Place, values: dict[str, Any], names: Collection[str]) -> None:
    """Make ``toggles.yaml`` say what is in force of these toggles; the others may be edited by hand."""
    environments = place.world.environments
    file = environments.load(place.name).toggles
    changed = [change for change in changes(file, values) if change.name in names]
    environments.set_toggles(
        place.name,
        {change.name: change.new for change in changed if change.name in values},
        unset=[change.name for change in changed if change.name not in values],
    )


def write_generation(run: Run) -> None:
    """The toggle generation of this plan: for the instance that will serve, and as the record."""
    record = run.record(run.plan.candidate)
    deliver(run.place, run.toggles, [record])
    if not await_generation(run.place, record, run.toggles.generation):
        raise OperationFailed(
            "DC-TOGGLES-NOT-ACKNOWLEDGED",
            f"instance {record.id} did not acknowledge toggle generation {run.toggles.generation}",
            cause="toggles",
            do=f"dcops logs {run.place.name}",
        )


def undo_generation(run: Run) -> None:
    state = ToggleState(run.toggles.generation + 1, run.plan.before.values)
    serving = run.current.record
    deliver(run.place, state, [serving] if serving else [])
