"""Remove the files that killed commands have left, at the next command that takes a lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.files import remove_abandoned, remove_half_made, remove_unfinished

if TYPE_CHECKING:
    from pathlib import Path

    from dcops.core.environment import Environment


def temporary(root: Path) -> Path:
    """Where a project's commands keep what goes with them."""
    return root / ".dcops" / "tmp"


def tidy(root: Path, environment: Environment) -> None:
    """Remove what nobody works on any more: directories by their locks, half-made files by their age."""
    own, backups = root / ".dcops", environment.backups
    remove_abandoned(temporary(root))
    remove_unfinished(own / "releases", ".copy-*")
    remove_unfinished(own / "builds", ".new-*", ".old-*")
    remove_unfinished(backups, ".making.*")
    for directory in (own, own / environment.name, root / "environments" / environment.name, backups):
        remove_half_made(directory)
