"""Make and look at backups."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dcops.backups.store import BackupRepository
from dcops.core.deployment import Entry
from dcops.errors import NotFound
from dcops.operations.current import observe, refuse_unfinished
from dcops.operations.steps.backup import take
from dcops.records.lock import actor

if TYPE_CHECKING:
    from dcops.core.backup import Backup
    from dcops.operations.world import World


def create_backup(world: World, environment: str, *, reason: str = "", with_data: bool = False) -> Backup:
    """Snapshot what serves: implementation, environment, toggles, release record.

    Args:
        with_data: Sessions and workspace too; what serves goes on meanwhile.

    Raises:
        NotFound: Nothing serves.
    """
    began = time.time()
    place = world.open(environment)
    with place.lock.acquire("backup", wait=10.0):
        current = observe(place)
        refuse_unfinished(current, environment)
        backup = take(place, current, reason=reason or "by hand", with_data=with_data)
        entry = Entry(
            kind="backup",
            result="ok",
            at=began,
            seconds=round(time.time() - began, 3),
            by=actor(),
            reason=reason,
            data={"backup": backup.id},
        )
        place.history.append(entry)
        return backup


def list_backups(world: World, environment: str | None = None) -> list[Backup]:
    """Backups of one environment or of all, oldest first."""
    names = [environment] if environment else world.environments.names()
    repositories = {world.environments.load(name).backups for name in names}
    found = [backup for path in sorted(repositories) for backup in BackupRepository(path).list()]
    return sorted(
        (backup for backup in found if environment in {None, backup.environment}), key=lambda each: each.id
    )


def show_backup(world: World, identity: str) -> Backup:
    """One backup by id, unique prefix, ``latest`` or ``previous``.

    Raises:
        NotFound: There is none.
    """
    names = world.environments.names()
    repositories = sorted({world.environments.load(name).backups for name in names})
    error: NotFound | None = None
    for path in repositories:
        try:
            return BackupRepository(path).get(identity)
        except NotFound as missing:
            error = error or missing
    raise error or NotFound("DC-BACKUP-UNKNOWN", f"there is no backup {identity}", do="dcops backup list")
