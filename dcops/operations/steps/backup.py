"""Snapshot what is there, before something else takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.backups.store import BackupContent, BackupRepository
from dcops.errors import PreconditionMissing
from dcops.operations.steps.build import tree

if TYPE_CHECKING:
    from dcops.core.backup import Backup
    from dcops.core.deployment import Deployment
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place


def repository(place: Place) -> BackupRepository:
    return BackupRepository(place.environment.backups)


def take(place: Place, deployment: Deployment, *, kind: str, reason: str = "") -> Backup:
    """Back up a deployment: its files, the environment's files as they are now, its record.

    Raises:
        PreconditionMissing: The release's files are not on this machine.
    """
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
        kind=kind,
        reason=reason,
        implementation=implementation,
        environment_file=files.environment,
        toggles_file=files.toggles,
        record=deployment.to_json(),
    )
    return repository(place).create(content)


def do(run: Run) -> None:
    deployment = run.current.deployment
    if deployment is None or "backup" in run.values:
        return
    backup = take(run.place, deployment, kind=f"before {run.plan.kind}", reason=run.plan.reason)
    run.values["backup"] = backup.id
    run.say("backup", backup.id)
