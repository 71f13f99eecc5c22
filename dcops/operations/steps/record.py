"""Write down what was done: the commit point of a plan."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from dcops.core.deployment import Deployment, Entry, deployments
from dcops.core.toggles import changes
from dcops.errors import DcopsError
from dcops.records import toggles
from dcops.records.lock import actor

if TYPE_CHECKING:
    from collections.abc import Collection

    from dcops.core.plan import Plan
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place

# Of what steps found out, what a reader of the history wants to know.
_TOLD = {"verification", "backup", "late", "bake", "maintenance", "rotation"}


def do(run: Run) -> None:
    plan = run.plan
    # A crash may have come between the line of history and what follows it.
    found = made_by(plan, run.current.entries)
    if found is None:
        found = entry(run, "ok", _deployment(run) if plan.makes_deployment else None)
        run.place.store.write(toggles.files(run.toggles))
        run.place.history.append(found)
    if found.deployment is not None:
        run.values["deployment"] = found.deployment.to_json()
    names = {change.name for change in changes(plan.before.values, plan.revision.toggles)}
    write_toggle_file(run.place, plan.revision.toggles, names)


def made_by(plan: Plan, entries: list[Entry]) -> Entry | None:
    """The line of history that a plan has written: from then on what it did stands."""
    for each in reversed(entries):
        if each.result == "ok" and plan.id in {each.operation, each.deployment and each.deployment.operation}:
            return each
    return None


def _deployment(run: Run) -> Deployment:
    plan, made = run.plan, deployments(run.current.entries)
    return Deployment(
        number=made[-1].number + 1 if made else 1,
        operation=plan.id,
        revision=plan.revision,
        instance=plan.candidate,
        generation=run.toggles.generation,
        undoes=plan.undoes,
        restores=plan.restores,
        toggles_set=plan.toggles_set,
        backup=run.values.get("backup", ""),
        state=journal_id(run),
        at=time.time(),
    )


def entry(run: Run, result: str, deployment: Deployment | None = None, error: str = "") -> Entry:
    """The line of history for this run."""
    data = {key: value for key, value in run.values.items() if key in _TOLD}
    if run.plan.kind == "toggle":
        data |= {"changed": run.plan.toggles_set, "generation": run.toggles.generation}
    return Entry(
        kind=run.plan.kind,
        result=result,  # type: ignore[arg-type]  # one of Entry's words, given by the callers here
        at=run.started,
        seconds=round(time.time() - run.started, 3),
        by=actor(),
        reason=run.plan.reason,
        deployment=deployment,
        data=data | ({"error": error} if error else {}) | {"release": run.plan.revision.release},
        operation=run.plan.id,
    )


def journal_id(run: Run) -> str:
    """The session journal's id that the serving instance names; empty for implementations without one."""
    try:
        # By its name: users may be shut out.
        serving = run.place.client(run.find(run.plan.candidate))
        return str(serving.instance().get("state", {}).get("id", ""))
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
