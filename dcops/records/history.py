"""The append-only history of an environment: what was done, by whom, why, with what result."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from dcops.core.deployment import FORMAT, Deployment, Entry, deployments
from dcops.errors import PreconditionMissing
from dcops.records.lines import parse_lines

if TYPE_CHECKING:
    from dcops.core.protocols import ControlStore

PATH = "records/history.jsonl"


class History:
    """Entries oldest first, over the engine's control store.

    Raises:
        PreconditionMissing: On reading, when a newer version of dcops wrote it.
    """

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    def entries(self) -> list[Entry]:
        return parse(self._store.read(PATH)[PATH])

    def append(self, entry: Entry) -> None:
        self._store.append(PATH, json.dumps(entry.to_json(), sort_keys=True).encode())


def parse(content: bytes | None) -> list[Entry]:
    """Entries of a history file's content."""
    documents = parse_lines(content)
    if any(document["format"] > FORMAT for document in documents):
        raise PreconditionMissing(
            "DC-STATE-NEWER",
            "the history of this environment was written by a newer dcops",
            why=f"this version reads format {FORMAT}",
            do="upgrade dcops on this machine",
        )
    return [Entry.from_json(document) for document in documents]


def serving(entries: list[Entry], instance: str) -> Deployment | None:
    """The newest deployment whose instance is the one that the pointer names."""
    made = [each for each in deployments(entries) if each.instance == instance]
    return made[-1] if made else None
