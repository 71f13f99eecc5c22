"""What stands in a backup's ``manifest.json``: the backup itself and each member, under one sha256."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from dcops.backups.archive import CorruptError, Member
from dcops.core.backup import Backup
from dcops.errors import PreconditionMissing
from dcops.files import write_file

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 2
"""1 knew no sessions and workspace."""
_NAME = "manifest.json"


def write_manifest(directory: Path, backup: Backup, members: list[Member]) -> None:
    """Write the manifest of a backup into its directory."""
    kept = {name: value for name, value in asdict(backup).items() if name not in ("stored", "damaged")}
    manifest = {"format": FORMAT, "backup": kept, "members": members}
    write_file(directory / _NAME, canonical(manifest | {"sha256": _digest(manifest)}), mode=0o600)


def read_manifest(directory: Path) -> tuple[Backup, list[Member]]:
    """Read the manifest in a backup's directory.

    Raises:
        CorruptError: It is missing, damaged, or of another backup.
        PreconditionMissing: A newer version of dcops wrote it (DC-STATE-NEWER).
    """
    try:
        manifest = json.loads((directory / _NAME).read_bytes())
        version, digest = manifest["format"], manifest.pop("sha256")
    except OSError as error:
        raise CorruptError(f"its manifest cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CorruptError("its manifest is damaged") from None
    if version not in (1, FORMAT):
        raise newer(directory, version, FORMAT)
    if digest != _digest(manifest) or manifest["backup"]["id"] != directory.name:
        raise CorruptError("its manifest is damaged")
    stored = sum(each.stat().st_size for each in directory.iterdir())
    told = {"left_out": (), **manifest["backup"]}
    told["left_out"] = tuple(told["left_out"])
    return Backup(**told, stored=stored), manifest["members"]


def canonical(document: dict[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def newer(path: Path, version: Any, known: int) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-STATE-NEWER",
        f"{path} was written by a newer version of dcops",
        why=f"its format is {version}, this version knows {known}",
        do="use the newer version of dcops",
    )


def _digest(document: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(document)).hexdigest()
