"""Roll back: the same path as a deploy, entered with an earlier release."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dcops.core.backup import WORDS, choose
from dcops.core.deployment import Deployment, deployments, previous
from dcops.core.ignore import Ignore
from dcops.core.release import build_id, file_changes
from dcops.core.toggles import changes
from dcops.errors import NotFound, PreconditionMissing, UsageError
from dcops.files import scratch
from dcops.operations.current import Current, nothing_serves, observe, refuse_unfinished
from dcops.operations.deploy import Confirm, DeployReport, carry_out
from dcops.operations.planning import make_plan
from dcops.operations.steps.backup import repository
from dcops.operations.steps.build import tree
from dcops.operations.steps.outage import no_data
from dcops.operations.tidy import temporary
from dcops.releases.tree import scan

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from dcops.core.backup import Backup
    from dcops.core.deployment import Revision
    from dcops.core.plan import Plan
    from dcops.core.release import TreeEntry
    from dcops.operations.world import Place, World


KEPT = "data       sessions and workspace stay as they are"


@dataclass(frozen=True, slots=True)
class RollbackRequest:
    """What ``dcops rollback`` was asked.

    Attributes:
        backup: Id, unique prefix, ``latest`` or ``previous``; None for the previous release.
        lock_wait: Seconds to wait for another operation.
        with_data: Whether sessions and workspace of the backup take the place of those that are there.
    """

    environment: str
    backup: str | None = None
    reason: str = ""
    lock_wait: float = 0.0
    with_data: bool = False


def plan_rollback(world: World, request: RollbackRequest) -> Plan:
    """What ``rollback`` would do now; only reads."""
    place = world.open(request.environment)
    place.lock.require_free(wait=request.lock_wait)
    return _plan(place, _pinned(place, request), observe(place))


def rollback(world: World, request: RollbackRequest, confirm: Confirm) -> DeployReport:
    """Make an earlier state serve again.

    Raises:
        NotFound: There is no earlier release, or no such backup.
        PreconditionMissing: Its build is gone, the backup is damaged or holds no data, it cannot read the
            session journal, the lock is held ...
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
    with scratch(temporary(place.world.project.root), "restore") as directory:
        backups = repository(place)
        extracted = backups.extract(request.backup, directory / "backup")
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
        if request.with_data:
            raise UsageError(
                "DC-USAGE",
                "--with-data goes with a backup",
                why="the release before is not what holds sessions and workspace",
                do=f"dcops backup list --env {place.name}, then dcops rollback BACKUP --with-data",
            )
        return request
    backups = repository(place).list()
    if request.backup in WORDS:
        backups = tuple(each for each in backups if each.environment == place.name)
    return replace(request, backup=choose(request.backup, backups).id)


def _plan(place: Place, request: RollbackRequest, current: Current) -> Plan:
    refuse_unfinished(current, place.name)
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
    files = _copied(kept) if kept.is_dir() else None
    return replace(made, changes=(*made.changes, *_files(place, current, revision, files), *flipped, KEPT))


def _plan_backup(place: Place, request: RollbackRequest, current: Current) -> Plan:
    backups = repository(place)
    backup = backups.get(request.backup or "latest")
    kept = backups.files(backup.id)  # one that is damaged does not even say whose it is
    if backup.environment != place.name:
        raise PreconditionMissing(
            "DC-BACKUP-ENVIRONMENT",
            f"{backup.id} is a backup of {backup.environment}, not of {place.name}",
            do=f"dcops rollback {backup.id} --env {backup.environment}",
        )
    if request.with_data and not backup.data:
        raise no_data(backup, place)
    serving = current.deployment
    if request.with_data and serving is None:
        raise nothing_serves(place.name)  # there would be nothing to put back when it fails
    deployment = Deployment.from_json(backup.deployment)
    # It may have been made on another engine, or for another Python.
    revision = replace(
        deployment.revision,
        build=build_id(deployment.revision.release, place.engine.platform()),
        toggles=dict(backup.toggles),
    )
    made = make_plan(
        place,
        current,
        revision,
        kind="rollback",
        source=f"backup:{backup.id}",
        reason=request.reason,
        undoes=serving.number if serving else None,
        suites=place.environment.suites,
        data=backup.id if request.with_data else "",
    )
    files = _files(place, current, revision, kept)
    return replace(made, changes=(*made.changes, *files, _data(backup) if request.with_data else KEPT))


def _files(
    place: Place, current: Current, revision: Revision, after: Iterable[TreeEntry] | None
) -> list[str]:
    """What becomes of the implementation's files, against what serves."""
    serving = current.deployment
    if serving is None or serving.revision.release == revision.release:
        return []
    before = tree(place, serving.revision.release)
    if after is None or not before.is_dir():
        return ["files      not compared: this machine has those of one release only"]
    return [f"files      {line}" for line in file_changes(_copied(before), after)]


def _copied(tree: Path) -> tuple[TreeEntry, ...]:
    """The files of a private copy, which holds nothing that is to be ignored."""
    return scan(tree, Ignore([]))


def _data(backup: Backup) -> str:
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(backup.created))
    return f"data       sessions and workspace as of {made}; what came since is lost but for the new backup"


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
