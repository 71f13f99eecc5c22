"""Roll back: the same path as a deploy, entered with an earlier release."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcops.core.deployment import Deployment, deployments, previous
from dcops.core.release import build_id
from dcops.core.toggles import changes
from dcops.errors import NotFound, PreconditionMissing
from dcops.operations.current import Current, observe
from dcops.operations.deploy import Confirm, DeployReport, carry_out
from dcops.operations.planning import make_plan
from dcops.operations.steps.backup import repository
from dcops.operations.steps.build import tree

if TYPE_CHECKING:
    from dcops.core.plan import Plan
    from dcops.operations.world import Place, World


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """What ``dcops rollback`` was asked.

    Attributes:
        backup: Id, unique prefix, or ``latest``; None for the previous release.
        lock_wait: Seconds to wait for another operation.
    """

    environment: str
    backup: str | None = None
    reason: str = ""
    lock_wait: float = 0.0


def plan_rollback(world: World, request: RollbackRequest) -> Plan:
    """What ``rollback`` would do now; only reads."""
    place = world.open(request.environment)
    place.lock.require_free(wait=request.lock_wait)
    return _plan(place, _pinned(place, request), observe(place))


def rollback(world: World, request: RollbackRequest, confirm: Confirm) -> DeployReport:
    """Make an earlier state serve again.

    Raises:
        NotFound: There is no earlier release, or no such backup.
        PreconditionMissing: Its build is gone, the backup is damaged, the lock is held ...
        OperationFailed: It failed, and what served before serves.
    """
    place = world.open(request.environment)
    request = _pinned(place, request)
    place.lock.require_free(wait=request.lock_wait)
    planned = _plan(place, request, observe(place))

    def replan(current: Current) -> Plan:
        return _plan(place, request, current)

    if request.backup is None:
        return carry_out(place, planned, confirm, replan=replan, lock_wait=request.lock_wait)
    with tempfile.TemporaryDirectory(prefix="dcops-restore-") as directory:
        backups = repository(place)
        extracted = backups.extract(request.backup, Path(directory) / "backup")
        return carry_out(
            place,
            planned,
            confirm,
            replan=replan,
            source=extracted.implementation,
            lock_wait=request.lock_wait,
        )


def _pinned(place: Place, request: RollbackRequest) -> RollbackRequest:
    """With the id that was meant: ``latest`` may be another one a moment later."""
    if request.backup is None:
        return request
    if request.backup == "latest":
        own = [each.id for each in repository(place).list() if each.environment == place.name]
        return replace(request, backup=own[-1] if own else "latest")
    return replace(request, backup=repository(place).get(request.backup).id)


def _plan(place: Place, request: RollbackRequest, current: Current) -> Plan:
    serving = current.deployment
    if request.backup is not None:
        return _plan_backup(place, request, current)
    target = previous(deployments(current.entries)) if serving else None
    if serving is None or target is None:
        raise NotFound(
            "DC-NO-PREVIOUS",
            f"{place.name} has no earlier release to go back to",
            why="nothing else served before that was not rolled back from" if serving else "nothing serves",
            do=f"dcops backup list, then dcops rollback BACKUP --env {place.name}",
        )
    revision = replace(target.revision, toggles=undone_toggles(current, serving))
    kept = tree(place, target.revision.release)
    if not place.engine.has_build(target.revision.build) and not kept.is_dir():
        raise PreconditionMissing(
            "DC-BUILD-PRUNED",
            f"the build of release {target.revision.short} is gone",
            do=f"dcops rollback {serving.backup or 'BACKUP'} --env {place.name}",
        )
    made = make_plan(
        place,
        current,
        revision,
        kind="rollback",
        source=str(kept),
        reason=request.reason,
        undoes=serving.number,
        restores=target,
    )
    flipped = [f"toggle     {name}: kept, it was flipped since" for name in kept_toggles(current, serving)]
    return replace(made, changes=(*made.changes, *flipped))


def _plan_backup(place: Place, request: RollbackRequest, current: Current) -> Plan:
    backups = repository(place)
    backup = backups.get(request.backup or "latest")
    if backup.environment != place.name:
        raise PreconditionMissing(
            "DC-BACKUP-ENVIRONMENT",
            f"{backup.id} is a backup of {backup.environment}, not of {place.name}",
            do=f"dcops rollback {backup.id} --env {backup.environment}",
        )
    deployment = Deployment.from_json(backup.deployment)
    serving = current.deployment
    return make_plan(
        place,
        current,
        # It may have been made on another engine, or for another Python.
        replace(
            deployment.revision,
            build=build_id(deployment.revision.release, place.engine.platform()),
            toggles=dict(backup.toggles),
        ),
        kind="rollback",
        source=f"backup:{backup.id}",
        reason=request.reason,
        undoes=serving.number if serving else None,
        suites=place.environment.suites,
    )


def undone_toggles(current: Current, serving: Deployment) -> dict[str, Any]:
    """Values in force, less what the serving deployment set; what was flipped since stays."""
    values = dict(current.toggles.values)
    for name, (before, after) in serving.toggles_set.items():
        if values.get(name) == after:
            if before is None:
                values.pop(name, None)
            else:
                values[name] = before
    return values


def kept_toggles(current: Current, serving: Deployment) -> list[str]:
    """Toggles that were flipped since the deployment and that its rollback leaves alone."""
    return [each.name for each in changes(serving.revision.toggles, current.toggles.values)]
