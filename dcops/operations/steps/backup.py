"""Snapshot what is there, before something else takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.backups.store import BackupRepository
from dcops.core.backup import BackupContent
from dcops.errors import NotFound, PreconditionMissing
from dcops.operations.steps.build import tree

if TYPE_CHECKING:
    from dcops.core.backup import Backup
    from dcops.operations.current import Current
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place


def repository(place: Place) -> BackupRepository:
    return BackupRepository(place.environment.backups)


def take(place: Place, current: Current, *, reason: str) -> Backup:
    """Back up what serves: its files, the environment's files as they are, its record, toggles in force.

    Raises:
        NotFound: Nothing serves.
        PreconditionMissing: The release's files are not on this machine.
    """
    deployment = current.deployment
    if deployment is None:
        raise NotFound(
            "DC-NOTHING-SERVES", f"nothing serves in {place.name}", do=f"dcops deploy {place.name}"
        )
    files = place.world.environments.read(place.name)
    implementation = tree(place, deployment.revision.release)
    if not implementation.exists():
        raise PreconditionMissing(
            "DC-RELEASE-FILES-MISSING",
            f"the files of release {deployment.revision.short} are not on this machine",
            why="it was deployed from another machine, or .dcops was removed",
            do="run the command on the machine that deployed it",
        )
    content = BackupContent(
        environment=place.name,
        implementation=implementation,
        environment_file=files.environment,
        toggles_file=files.toggles,
        release=deployment.revision.release,
        deployment=deployment.to_json(),
        toggles=current.toggles.values,
        reason=reason,
    )
    return repository(place).create(content)


def do(run: Run) -> None:
    if "backup" in run.values:
        return
    backup = take(run.place, run.current, reason=_reason(run))
    run.values["backup"] = backup.id
    run.say("backup", backup.id)


def _reason(run: Run) -> str:
    return f"before {run.plan.kind}" + (f": {run.plan.reason}" if run.plan.reason else "")
