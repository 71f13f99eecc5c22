"""Snapshot what is there, before something else takes its place."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from dcops.backups.store import BackupRepository
from dcops.core.backup import BackupContent
from dcops.errors import NotFound
from dcops.files import scratch
from dcops.operations.steps.build import files_of
from dcops.operations.tidy import temporary

if TYPE_CHECKING:
    from dcops.core.backup import Backup
    from dcops.operations.current import Current
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place


def repository(place: Place) -> BackupRepository:
    return BackupRepository(place.environment.backups)


def take(place: Place, current: Current, *, reason: str, with_data: bool = False) -> Backup:
    """Back up what serves: its files, the environment's files as they are, its record, toggles in force.

    Args:
        with_data: Sessions and workspace too, as they are at this moment.

    Raises:
        NotFound: Nothing serves.
        PreconditionMissing: The release's files are neither on this machine nor in its build.
    """
    deployment = current.deployment
    if deployment is None:
        raise NotFound(
            "DC-NOTHING-SERVES", f"nothing serves in {place.name}", do=f"dcops deploy {place.name}"
        )
    files = place.world.environments.read(place.name)
    content = BackupContent(
        environment=place.name,
        implementation=files_of(place, deployment.revision),
        environment_file=files.environment,
        toggles_file=files.toggles,
        release=deployment.revision.release,
        deployment=deployment.to_json(),
        toggles=current.toggles.values,
        reason=reason,
    )
    if not with_data:
        return repository(place).create(content)
    with scratch(temporary(place.world.project.root), "state") as directory:
        saved = directory / "state.tar"
        left_out = place.engine.save_state(saved)
        return repository(place).create(replace(content, data=saved, left_out=tuple(left_out)))


def do(run: Run) -> None:
    if "backup" in run.values:
        return
    backup = take(run.place, run.current, reason=_reason(run), with_data=run.plan.has("stop"))
    run.values["backup"] = backup.id
    run.say("backup", backup.id)
    if backup.left_out:
        run.say("backup", f"not in it, as it cannot be read or leads out: {', '.join(backup.left_out)}")


def _reason(run: Run) -> str:
    return f"before {run.plan.kind}" + (f": {run.plan.reason}" if run.plan.reason else "")
