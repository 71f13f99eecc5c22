"""The append-only history of an environment: what was done, by whom, why, with what result.

Each line names the sha256 of the line before it, so a line that is changed, removed or moved shows.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from dcops.core.chain import Chain, follow
from dcops.core.deployment import FORMAT, Deployment, Entry, deployments
from dcops.errors import PreconditionMissing
from dcops.records.lines import parse_lines

if TYPE_CHECKING:
    from dcops.core.protocols import ControlStore

PATH = "records/history.jsonl"


class History:
    """Entries oldest first, over the engine's control store.

    Raises:
        PreconditionMissing: On reading, when a newer version of dcops wrote it, or somebody else did.
    """

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    def entries(self) -> list[Entry]:
        return parse(self._store.read(PATH)[PATH])

    def append(self, entry: Entry) -> None:
        self._store.chain(PATH, json.dumps(entry.to_json(), sort_keys=True).encode())

    def verify(self) -> Chain:
        """Follow the chain.

        Raises:
            CheckFailed: It is broken; the message names the first line that does not follow.
        """
        return follow(self._store.read(PATH)[PATH])


def parse(content: bytes | None) -> list[Entry]:
    """Entries of a history file's content."""
    try:
        documents = parse_lines(content)
        newer = any(document["format"] > FORMAT for document in documents)
        entries = [] if newer else [_entry(document) for document in documents]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PreconditionMissing(
            "DC-STATE-DAMAGED",
            "the history of this environment cannot be read",
            why=f"a line of it is not as dcops writes it: {error}",
            do="dcops history --verify names the line; dcops doctor --repair keeps the others",
        ) from error
    if newer:
        raise PreconditionMissing(
            "DC-STATE-NEWER",
            "the history of this environment was written by a newer dcops",
            why=f"this version reads format {FORMAT}",
            do="upgrade dcops on this machine",
        )
    return entries


def salvaged(content: bytes) -> bytes:
    """The lines that can be read; the chain shows for ever that one between them is gone."""
    return b"".join(line + b"\n" for line in content.split(b"\n")[:-1] if _readable(line))


def _readable(line: bytes) -> bool:
    try:
        return bool(parse(line + b"\n"))
    except PreconditionMissing as error:
        return error.code == "DC-STATE-NEWER"


def _entry(document: dict[str, Any]) -> Entry:
    return Entry.from_json({name: value for name, value in document.items() if name != "prev"})


def serving(entries: list[Entry], instance: str) -> Deployment | None:
    """The newest deployment whose instance is the one that the pointer names."""
    made = [each for each in deployments(entries) if each.instance == instance]
    return made[-1] if made else None
