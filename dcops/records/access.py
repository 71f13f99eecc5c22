"""Who may talk to the agent: the hashes of bearer tokens, one for each machine that operators use."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dcops.errors import PreconditionMissing
from dcops.records import instances
from dcops.records.intact import intact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dcops.core.deployment import Revision
    from dcops.core.protocols import ControlStore
    from dcops.records.instances import InstanceRecord

PATH = "records/access.json"
FORMAT = 1
_NOTHING = hashlib.sha256(b"").hexdigest()  # who shows no token shows this one
_LAST = datetime.max.replace(microsecond=0, tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is let in.

    Attributes:
        until: Seconds since the epoch when it ends; None for as long as nobody ends it.
        by: ``user@host`` whose it is.
    """

    sha256: str
    until: float | None
    by: str


Tokens = tuple[Token, ...]


class Access:
    """The tokens of an environment, in the control store and in the control files of its instances.

    Any machine may change it at any time, also while another one holds the lock: every change is a swap.
    """

    def __init__(self, store: ControlStore) -> None:
        self._store = store

    def tokens(self) -> Tokens:
        """Those that are let in now or were once, the oldest first."""
        return parse(self._store.read(PATH)[PATH])

    def add(self, token: str, by: str) -> Tokens:
        """Let a token in; one that is known stays as it is, with its end.

        Returns:
            All of them, with the new one.
        """
        digest = sha256(token)

        def change(tokens: Tokens) -> Tokens:
            known = any(each.sha256 == digest for each in tokens)
            return tokens if known else (*tokens, Token(digest, None, by))

        return self._change(change)

    def end(self, at: float, ended: Callable[[Token], bool]) -> Tokens:
        """End some tokens at a time (seconds since the epoch); those that end earlier still do."""

        def change(tokens: Tokens) -> Tokens:
            return tuple(
                replace(each, until=min(at, each.until or at)) if ended(each) else each for each in tokens
            )

        return self._change(change)

    def restore(self, before: Iterable[Token], *, without: str = "") -> Tokens:
        """Give tokens the ends back that they had; what others have added since stays.

        Args:
            without: The sha256 of one that is no longer let in.
        """
        known = {each.sha256: each for each in before}

        def change(tokens: Tokens) -> Tokens:
            return tuple(known.get(each.sha256, each) for each in tokens if each.sha256 != without)

        return self._change(change)

    def spread(self) -> list[InstanceRecord]:
        """Make every instance's file say what the list says; two round trips when they do already.

        Returns:
            The instances that said something else; they read it a moment later.
        """
        changed: dict[str, InstanceRecord] = {}
        # Again after each change: another machine may have added its own token meanwhile.
        while behind := self._behind():
            for record, before, wanted in behind:
                # A swap, so that nothing is made anew for an instance that was removed meanwhile.
                self._store.swap(_file(record.id), wanted, expect=before)
                changed[record.id] = record
        return list(changed.values())

    def _behind(self) -> list[tuple[InstanceRecord, bytes, bytes]]:
        """Instances whose file differs, with what it holds and what it should."""
        names = instances.listed(self._store)
        contents = self._store.read(PATH, *map(instances.path, names), *map(_file, names))
        if contents[PATH] is None:
            return []
        tokens, found = parse(contents[PATH]), []
        for name in names:
            record, before = contents[instances.path(name)], contents[_file(name)]
            # One without a file is being started, or just goes.
            if record is not None and before is not None:
                known = instances.parse(record, name)
                found.append((known, before, document(tokens, known.revision)))
        return [each for each in found if each[1] != each[2]]

    def _change(self, change: Callable[[Tokens], Tokens]) -> Tokens:
        content = self._store.read(PATH)[PATH]
        while True:
            tokens = parse(content)
            wanted = change(tokens)
            if wanted == tokens:
                return tokens
            found = self._store.swap(PATH, _dump(wanted), expect=content)
            # Without a store there is nothing to be let into.
            if found is None or found.content == content:
                return wanted
            content = found.content


def ends(tokens: Iterable[Token], token: str) -> bool:
    """Whether somebody has given this token an end."""
    return any(each.sha256 == sha256(token) and each.until is not None for each in tokens)


def _file(instance: str) -> str:
    return f"instances/{instance}/access.json"


def sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def document(tokens: Iterable[Token], revision: Revision) -> bytes:
    """``access.json`` of an instance, with times in the one form that the suite ``contract`` checks."""
    known = [{"sha256": each.sha256, "until": _iso(each.until)} for each in tokens if each.sha256 != _NOTHING]
    return json.dumps({"tokens": known, "hosts": list(revision.configuration["hosts"])}).encode()


def _iso(moment: float | None) -> str | None:
    """A time for implementations; one after the year 9999 has no such form and is its end."""
    return None if moment is None else datetime.fromtimestamp(min(moment, _LAST), UTC).isoformat()


def parse(content: bytes | None) -> Tokens:
    """What the list of tokens says.

    Raises:
        PreconditionMissing: It is damaged, or a newer dcops wrote it.
    """
    if content is None:
        return ()
    with intact(PATH):
        found = json.loads(content)
        newer = found["format"] > FORMAT
        tokens = () if newer else tuple(Token(**each) for each in found["tokens"])
    if newer:
        raise PreconditionMissing(
            "DC-STATE-NEWER",
            "the tokens of this environment were written by a newer dcops",
            why=f"this version reads format {FORMAT}",
            do="upgrade dcops on this machine",
        )
    return tokens


def _dump(tokens: Tokens) -> bytes:
    return json.dumps({"format": FORMAT, "tokens": [asdict(each) for each in tokens]}).encode()
