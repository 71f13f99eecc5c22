"""End all that has the session journal open, for what nothing may run beside; and put everything back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.errors import PreconditionMissing
from dcops.files import scratch
from dcops.operations import instances
from dcops.operations.steps.backup import repository
from dcops.operations.tidy import temporary

if TYPE_CHECKING:
    from dcops.core.backup import Backup
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place


def stop(run: Run) -> None:
    """Their containers or programs stay, so that the one that served can be started again."""
    for name in users(run):
        run.place.engine.stop(name, remove=False)


def start_again(run: Run) -> None:
    place, old = run.place, run.current.record
    if old is None:
        return
    place.engine.revive([old.id])
    place.engine.keep(old.id, always=True)
    instances.await_ready(place, old, timeout=place.environment.ready_timeout)


def users(run: Run) -> list[str]:
    """Instances that share state and workspace; the one that serves last, so that it serves longest."""
    current, plan = run.current, run.plan
    others = current.instances.keys() - {current.model, plan.candidate, plan.twin, current.serving}
    return [*sorted(others), *({current.serving} & current.instances.keys())]


def remove_stopped(run: Run) -> None:
    """Forget what was stopped: it could not use what is there now."""
    for name in users(run):
        record = run.current.records.get(name)
        if record is not None:
            instances.remove(run.place, record)
        else:
            run.place.engine.stop(name)


def restore(run: Run) -> None:
    """Sessions and workspace of the backup take the place of those that are there."""
    _load(run, run.plan.options["restore"])


def put_back(run: Run) -> None:
    """Sessions and workspace as they were when all was stopped; an additive migration needs no such thing."""
    if run.plan.has("stop") and (backup := run.values.get("backup")):
        _load(run, backup)


def _load(run: Run, identity: str) -> None:
    place = run.place
    stop(run)  # somebody may have started them, between a crash and now
    with scratch(temporary(place.world.project.root), "state") as directory:
        restored = repository(place).extract(identity, directory / "backup", with_data=True)
        if restored.data is None:
            raise no_data(repository(place).get(identity), place)
        place.engine.load_state(restored.data)


def no_data(backup: Backup, place: Place) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-BACKUP-NO-DATA",
        f"{backup.id} holds no sessions and no workspace",
        why="it was made without --with-data",
        do=f"dcops rollback {backup.id} --env {place.name} leaves those of now; "
        "dcops backup list shows which hold some",
        backup=backup.id,
    )
