"""A restorable snapshot of what serves in an environment."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from dcops.core.suggestion import did_you_mean
from dcops.errors import NotFound, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

WORDS = {"latest": 1, "previous": 2}
"""What may stand for an id: the last backup of an environment, and the one before it."""
_ID = re.compile(r"backup_(\d{8}_\d{6})(?:_([2-9]|[1-9]\d+))?")


@dataclass(frozen=True, slots=True)
class BackupContent:
    """What goes into a backup.

    Attributes:
        environment: Name of the environment.
        implementation: Directory with exactly the files of the release.
        environment_file: Bytes of ``environment.yaml``.
        toggles_file: Bytes of ``toggles.yaml``.
        release: Id of the release.
        deployment: The record of the deployment that serves.
        toggles: The values in force.
        reason: Why it is made, for people.
        data: Tar file of sessions and workspace, where they are asked for.
        left_out: What of them could not be read, and is not in it.
    """

    environment: str
    implementation: Path
    environment_file: bytes
    toggles_file: bytes
    release: str
    deployment: Mapping[str, Any]
    toggles: Mapping[str, Any]
    reason: str = ""
    data: Path | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Backup:
    """What a backup repository says of a backup.

    Attributes:
        id: ``backup_YYYYMMDD_HHMMSS`` (UTC), then ``_2`` and so on; never used again.
        created: Seconds since the epoch.
        files: Number of files and links, sessions and workspace apart.
        bytes: Their size before compression.
        data: Whether it holds sessions and workspace.
        data_bytes: Their size before compression.
        left_out: What of them could not be read, and is not in it.
        stored: Bytes it takes in the repository.
        damaged: Why its manifest cannot be used; then only the id says something.
    """

    id: str
    created: float
    environment: str = ""
    reason: str = ""
    release: str = ""
    files: int = 0
    bytes: int = 0
    data: bool = False
    data_bytes: int = 0
    left_out: tuple[str, ...] = ()
    stored: int = 0
    deployment: Mapping[str, Any] = field(default_factory=dict)
    toggles: Mapping[str, Any] = field(default_factory=dict)
    damaged: str = ""


@dataclass(frozen=True, slots=True)
class Restored:
    """A backup's content, extracted; ``data`` only where it has any and it was asked for."""

    implementation: Path
    environment_file: bytes
    toggles_file: bytes
    release: str
    deployment: Mapping[str, Any]
    toggles: Mapping[str, Any]
    data: Path | None = None


def backup_id(created: float, number: int) -> str:
    """The id of the ``number``-th backup (from 1) of a second."""
    stamp = datetime.fromtimestamp(created, UTC).strftime("backup_%Y%m%d_%H%M%S")
    return stamp if number == 1 else f"{stamp}_{number}"


def sort_key(identity: str) -> tuple[str, int]:
    """Orders ids by time, ``_10`` after ``_2``."""
    match = _ID.fullmatch(identity)
    return (match[1], int(match[2] or 1)) if match else (identity, 0)


def created_of(identity: str) -> float:
    """Seconds since the epoch that an id names; 0 when it names no real time."""
    try:
        return datetime.strptime(sort_key(identity)[0], "%Y%m%d_%H%M%S").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def is_backup_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def choose(wanted: str, backups: Iterable[Backup]) -> Backup:
    """The backup of an id, of the only id that starts so, the newest (``latest``) or the one before it.

    Args:
        wanted: As the user wrote it.
        backups: Those to choose from.

    Raises:
        NotFound: None fits (DC-BACKUP-UNKNOWN).
        UsageError: Several fit (DC-BACKUP-AMBIGUOUS).
    """
    known = {backup.id: backup for backup in sorted(backups, key=lambda each: sort_key(each.id))}
    if wanted in known:
        return known[wanted]
    if wanted in WORDS and len(known) >= WORDS[wanted]:
        return list(known.values())[-WORDS[wanted]]
    fitting = [each for each in known if wanted and each.startswith((wanted, f"backup_{wanted}"))]
    if len(fitting) == 1:
        return known[fitting[0]]
    if fitting:
        raise UsageError(
            "DC-BACKUP-AMBIGUOUS",
            f"{len(fitting)} backups start with {wanted}",
            why=", ".join(fitting[-5:]),
            do="write one id in full",
            backups=fitting,
        )
    raise NotFound(
        "DC-BACKUP-UNKNOWN",
        _missing(wanted, len(known)),
        why=did_you_mean(wanted, list(known)[-20:]),
        do="see all: dcops backup list",
        backup=wanted,
    )


def _missing(wanted: str, known: int) -> str:
    if not known:
        return "there is no backup yet"
    return "there is one backup only" if wanted in WORDS else f"there is no backup {wanted}"
