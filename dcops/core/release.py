"""An implementation by content."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dcops.core.protocols import Platform


NAMED = 4


@dataclass(frozen=True, slots=True)
class SessionJournal:
    """The session journal as a release writes it, or as it is found.

    Attributes:
        schema: Its version, which counts up.
        min_reader: The least version that a release must know to use it.
        migrate: Command of the release that brings a journal to this version; empty of a journal as found.
    """

    schema: int
    min_reader: int
    migrate: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SessionJournal:
        return cls(document["schema"], document["min_reader"], tuple(document.get("migrate", ())))


@dataclass(frozen=True, slots=True)
class Implementation:
    """What ``implementation.yaml`` says.

    Attributes:
        name: Package name; its directory in a build.
        command: How an instance starts.
        lock: File with the locked dependencies, relative to the implementation.
        toggles: Toggle schema file, relative; empty when there are no toggles.
        roles: False when warm and draining instances are simply ended.
        journal: The session journal that it needs, where it keeps one that is migrated.
        ignore: Patterns that are no part of the release.
        description: One line for people.
    """

    name: str
    command: tuple[str, ...]
    lock: str
    toggles: str = ""
    roles: bool = True
    journal: SessionJournal | None = None
    ignore: tuple[str, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """One file or link of an implementation: path, executable bit, sha256 of bytes or of the link target."""

    path: str
    executable: bool
    link: bool
    digest: str


@dataclass(frozen=True, slots=True)
class Release:
    """A release id with what is needed to build, start and toggle it."""

    id: str
    implementation: Implementation
    schema: dict[str, Any]
    files: tuple[TreeEntry, ...]

    @property
    def short(self) -> str:
        return self.id[:12]


def release_id(entries: Iterable[TreeEntry]) -> str:
    """sha256 over the sorted entries; nothing of time, owner, umask or place goes in."""
    hasher = hashlib.sha256(b"dcops release 1\n")
    for entry in sorted(entries, key=lambda each: each.path):
        kind = "link" if entry.link else "executable" if entry.executable else "file"
        hasher.update(json.dumps([entry.path, kind, entry.digest]).encode() + b"\n")
    return hasher.hexdigest()


def build_id(release: str, platform: Platform) -> str:
    """sha256 over the release and the platform it is made runnable for."""
    document = {"format": 1, "release": release, **asdict(platform)}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def file_changes(before: Iterable[TreeEntry], after: Iterable[TreeEntry]) -> list[str]:
    """How many files are added, changed and removed, with the first names: one line each, for people."""
    old, new = ({each.path: each for each in entries} for entries in (before, after))
    kinds = {
        "added": sorted(new.keys() - old.keys()),
        "changed": sorted(path for path in new.keys() & old.keys() if new[path] != old[path]),
        "removed": sorted(old.keys() - new.keys()),
    }
    return [f"{len(paths)} {kind}: {_named(paths)}" for kind, paths in kinds.items() if paths]


def _named(paths: list[str]) -> str:
    more = f" and {len(paths) - NAMED} more" if len(paths) > NAMED else ""
    return ", ".join(paths[:NAMED]) + more
