"""What the journal gives back and what it refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ..events import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..events import Block


class JournalError(Exception):
    """What the journal refuses; the message says why."""


class JournalUnfit(JournalError):
    """This release cannot use the file as it is."""


class JournalTooNew(JournalUnfit):
    """The file needs a newer reader than this release."""


class JournalTooOld(JournalUnfit):
    """The file must be migrated before this release can use it."""


class JournalDamaged(JournalUnfit):
    """The file is no journal any more."""


class NoSession(JournalError):
    """There is no session of that id."""


class TurnRunning(JournalError):
    """The session already has a running turn, named by `turn`."""

    def __init__(self, turn: str) -> None:
        super().__init__(f"turn {turn} is still running in this session")
        self.turn = turn


class KeyReused(JournalError):
    """A key or an id that names one turn was used again for another input."""


class TooManyTurns(JournalError):
    """This instance already runs as many turns as it may."""


class BudgetSpent(JournalError):
    """The tokens of the day are used up; it ends in `seconds`."""

    def __init__(self, reason: str, seconds: int) -> None:
        super().__init__(reason)
        self.seconds = seconds


@dataclass(frozen=True, slots=True)
class About:
    """A journal: its identity, its schema, and the least schema that a reader must know."""

    id: str
    created: str
    schema: int
    min_reader: int


@dataclass(frozen=True, slots=True)
class Session:
    """A conversation; `toggles` are its own overrides, `directory` is where its last shell stood."""

    id: str
    title: str | None
    created: str
    toggles: dict[str, Any]
    synthetic: bool
    directory: str | None
    last_seq: int
    running: str | None
    """The id of its running turn."""
    workspace: str | None
    """The directory of its own, by its name in the shared one; None where it works in the shared one."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One user input and all that follows; `state`: running, done, limited, stopped, interrupted, failed."""

    id: str
    session: str
    owner: str
    state: str
    input: str | list[Block]
    created: str
    ended: str | None = None
    fresh: bool = False
    """True only for who just started it; false where an Idempotency-Key found an earlier one."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call that was started; `result` is None until it ended."""

    id: str
    name: str
    arguments: str
    result: dict[str, Any] | None


_MOST = 1 << 40
"""Above it a counter of a damaged stream; the sums must stay within SQLite's integers."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens as the API counts them: what was read anew, written, read from its cache, and put there."""

    input: int = 0
    output: int = 0
    cache_read: int = 0
    cache_write: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.input + self.output + self.cache_read + self.cache_write

    @classmethod
    def of(cls, usage: Mapping[str, Any]) -> Tokens:
        """The tokens of one reply, from the API's counters; what those leave out counts as none."""
        names = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        counts = (usage.get(name) for name in names)
        return cls(*(count if type(count) is int and 0 <= count < _MOST else 0 for count in counts))


@dataclass(frozen=True, slots=True)
class Control:
    """What somebody asks of a running turn: stop, pause, resume, or steer, which adds `input`."""

    kind: str
    input: str = ""


SELECT_SESSION = """
SELECT s.id, s.title, s.created, s.toggles, s.synthetic, s.directory, s.last_seq,
       (SELECT t.id FROM turns t WHERE t.session = s.id AND t.state = 'running'), s.workspace
FROM sessions s WHERE s.deleted IS NULL
"""
SELECT_IDLE = """
SELECT s.id FROM sessions s WHERE s.deleted IS NULL AND s.created < ? AND NOT EXISTS (
    SELECT 1 FROM turns t WHERE t.session = s.id AND (t.ended IS NULL OR t.ended >= ?))
"""
SELECT_TURN = "SELECT id, session, owner, state, input, created, ended FROM turns"
SELECT_CALL = "SELECT call, name, arguments, result FROM calls WHERE turn = ?"


def session_of(row: tuple[Any, ...]) -> Session:
    session, title, created, toggles, synthetic, *rest = row
    return Session(session, title, created, orjson.loads(toggles), bool(synthetic), *rest)


def turn_of(row: tuple[Any, ...]) -> Turn:
    turn, session, owner, state, text, created, ended = row
    return Turn(turn, session, owner, state, orjson.loads(text), created, ended)


def call_of(row: tuple[Any, ...]) -> Call:
    call, name, arguments, result = row
    return Call(call, name, arguments, None if result is None else orjson.loads(result))


def control_of(row: tuple[Any, ...]) -> Control:
    """What another release words in its own way has no input here; it must not keep a turn from its end."""
    kind, payload = row
    said = orjson.loads(payload)
    text = said.get("input") if isinstance(said, dict) else None
    return Control(kind, text if isinstance(text, str) and text.strip() else "")


def event_of(data: bytes) -> Event:
    wire = orjson.loads(data)
    return Event(wire.pop("type"), wire)
