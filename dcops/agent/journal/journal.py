"""What was done: sessions, turns, events, messages, calls and control, in one SQLite file for all instances.

Several instances (of several releases) open the same file at once. A turn is written by the instance that
started it, its owner; everybody may read it and ask its owner to stop, pause, resume or steer it.

Synchronous methods are short, thread-safe, and on disk when they return. In an event loop, writes go through
`submit`, which never stalls the loop and shares one commit among all that wait::

    await journal.submit(lambda: journal.append(session, turn, events))
"""

from __future__ import annotations

import re
import uuid
from dataclasses import asdict
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from ..events import run_started
from .changes import Changes
from .migrations import about, opening, prepare
from .owners import Owners
from .records import (
    SELECT_CALL,
    SELECT_IDLE,
    SELECT_SESSION,
    SELECT_TURN,
    BudgetSpent,
    Call,
    Control,
    KeyReused,
    NoSession,
    Session,
    Tokens,
    TooManyTurns,
    Turn,
    TurnRunning,
    call_of,
    control_of,
    event_of,
    session_of,
    turn_of,
)
from .tables import PARTS_OF_SESSION, now, seconds_left, today

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ..events import Block, Event, Message
    from .changes import Signal
    from .records import About
    from .store import Store

T = TypeVar("T")

_THERE = "id = ? AND deleted IS NULL"
_PAGES = 64
"""Pages that one step of a removal gives back to the file system."""


class Journal:
    """The journal of a state directory, opened by one instance."""

    def __init__(self, directory: Path, store: Store, owners: Owners, *, own_workspaces: bool) -> None:
        """Use `open`."""
        self.directory = directory
        self._own_workspaces = own_workspaces
        self._store = store
        self._owners = owners
        self._changes = Changes(store.version)

    @classmethod
    def open(cls, directory: Path, instance: str, *, own_workspaces: bool = True) -> Journal:
        """Opens or creates `journal.db` in `directory`.

        Args:
            directory: the state directory, shared by all instances of an environment.
            instance: the id of the instance that opens it; it owns the turns that it starts.
            own_workspaces: whether new sessions work in directories of their own.

        Raises:
            JournalUnfit: the file is for newer readers, or not yet migrated; nothing was changed.
        """
        with opening(directory) as store:
            prepare(store)
        owners = Owners(directory / "owners", instance)
        return cls(directory, store, owners, own_workspaces=own_workspaces)

    @property
    def owner(self) -> str:
        """The name under which this process owns turns."""
        return self._owners.name

    def about(self) -> About:
        """Its identity and its schema, which another release may raise while this one runs."""
        return about(self._store)

    def exists_on_disk(self) -> bool:
        """Whether the paths still name the open files; false once somebody removed some of the state."""
        return self._store.exists_on_disk() and self._owners.holds_own()

    def close(self) -> None:
        """Commits what was submitted, closes the file, and gives up ownership."""
        self._store.close()
        self._owners.close()

    async def submit(self, work: Callable[[], T]) -> T:
        """Runs `work` (calls of this journal) in the writing thread, all or nothing, in submission order."""
        return await self._store.submit(work)

    def together(self, work: Callable[[], T]) -> T:
        """Runs `work` (calls of this journal) as one transaction, all or nothing."""
        with self._store.transaction():
            return work()

    # Sessions

    def create_session(
        self,
        toggles: Mapping[str, Any] | None = None,
        *,
        synthetic: bool = False,
        session: str | None = None,
    ) -> str:
        """Makes a session and returns its id.

        Args:
            toggles: the session's own values of toggles.
            synthetic: leaves it out of lists.
            session: an id chosen by the client; a session that has it already stays as it is.
        """
        session = session or uuid.uuid4().hex
        workspace = _own_workspace(session) if self._own_workspaces else None
        row = (session, now(), orjson.dumps(dict(toggles or {})), synthetic, workspace)
        columns = "(id, created, toggles, synthetic, workspace)"
        with self._store.transaction() as db:
            db.execute(f"INSERT OR IGNORE INTO sessions {columns} VALUES (?, ?, ?, ?, ?)", row)  # noqa: S608
        return session

    def session(self, session: str) -> Session:
        """The session of that id.

        Raises:
            NoSession: there is none.
        """
        rows = self._store.read(SELECT_SESSION + " AND s.id = ?", session)
        if not rows:
            raise NoSession(f"there is no session {session}")
        return session_of(rows[0])

    def list_sessions(self, *, synthetic: bool = False) -> list[Session]:
        """All sessions, newest first; synthetic ones only when asked."""
        rows = self._store.read(
            SELECT_SESSION + " AND s.synthetic <= ? ORDER BY s.created DESC, s.id", synthetic
        )
        return [session_of(row) for row in rows]

    def update_session(self, session: str, **values: Any) -> None:
        """Sets `title`, `toggles` (a dict) or `directory`.

        Raises:
            NoSession: there is none.
        """
        with self._store.transaction() as db:
            for column, value in values.items():
                if column not in {"title", "toggles", "directory"}:
                    raise ValueError(f"a session has no {column} to set")
                stored = orjson.dumps(value) if column == "toggles" else value
                sql = f"UPDATE sessions SET {column} = ? WHERE {_THERE}"  # noqa: S608 - a name from the set above
                if not db.execute(sql, (stored, session)).rowcount:
                    raise NoSession(f"there is no session {session}")

    def delete_session(self, session: str, idle: float | None = None) -> bool:
        """Takes a session out of sight, at once and for good; `remove_some` then takes away what it has.

        Args:
            session: the session's id.
            idle: for how many seconds it must have been idle; None deletes it in any case.

        Returns:
            Whether it was deleted; false for one that was used meanwhile.

        Raises:
            NoSession: there is none.
            TurnRunning: it has a running turn; stop it first.
        """
        with self._store.transaction() as db:
            self._refuse_running(session)
            if idle is not None:
                still = db.execute(f"{SELECT_IDLE} AND s.id = ?", (now(idle), now(idle), session))
                if not still.fetchone():
                    return False
            sql = f"UPDATE sessions SET deleted = ? WHERE {_THERE}"  # noqa: S608
            if not db.execute(sql, (now(), session)).rowcount:
                raise NoSession(f"there is no session {session}")
            self._store.after_commit(lambda: self._changes.notify(session))
        return True

    def deleted_sessions(self) -> list[tuple[str, str | None]]:
        """Deleted sessions of which something is left: id and own workspace."""
        return [*self._store.read("SELECT id, workspace FROM sessions WHERE deleted IS NOT NULL")]

    def idle_sessions(self, seconds: float) -> list[str]:
        """Sessions in which no turn runs, nor has run for so many seconds."""
        return [row[0] for row in self._store.read(SELECT_IDLE, *[now(seconds)] * 2)]

    def remove_some(self, session: str, rows: int = 200, size: int = 256 << 10) -> bool:
        """Removes a part of a deleted session, or gives back room; no writer waits long for such a step.

        Args:
            session: the session's id.
            rows: how many rows at most.
            size: no further row once they have so many bytes together.

        Returns:
            Whether something is left of it.
        """
        with self._store.transaction() as db:
            deleted = "SELECT 1 FROM sessions WHERE id = ? AND deleted IS NOT NULL"
            if not db.execute(deleted, (session,)).fetchone():
                return False
            left = self._remove_rows(session, rows, size) or self._store.give_back(_PAGES)
            if not left:
                db.execute("DELETE FROM sessions WHERE id = ?", (session,))
        return left

    def _remove_rows(self, session: str, rows: int, size: int) -> bool:
        with self._store.transaction() as db:
            for select, delete in PARTS_OF_SESSION:
                for *key, length in db.execute(select, (session, rows)).fetchall():
                    db.execute(delete, key)
                    rows, size = rows - 1, size - length
                    if rows <= 0 or size <= 0:
                        return True
        return False

    def output_path(self, session: str, call: str) -> Path:
        """Where the full output of a call is kept; the file exists once the call wrote something."""
        return self.outputs(session) / f"{_safe(call)}.log"

    def outputs(self, session: str) -> Path:
        """The directory of a session's outputs; it exists once a call wrote something."""
        return self.directory / "outputs" / _safe(session)

    # Turns

    def start_turn(
        self,
        session: str,
        text: str | list[Block],
        key: str | None = None,
        max_running: int | None = None,
        turn_id: str | None = None,
        daily_tokens: int = 0,
    ) -> Turn:
        """Starts a turn that this instance owns: its user message and RUN_STARTED are written with it.

        A session without a title takes one from its first input.

        Args:
            session: the session's id.
            text: the user's input, a text or content blocks of the Messages API.
            key: an Idempotency-Key; the second start under one key returns the first turn, `fresh` false.
            max_running: how many turns this instance may run at once.
            turn_id: an id chosen by the client, which then works like a key.
            daily_tokens: how many tokens a day may have; 0 for any number.

        Raises:
            NoSession: there is no such session.
            KeyReused: the key or the id stands for a turn with another input, or in another session.
            TurnRunning: the session has a running turn.
            TooManyTurns: this instance runs `max_running` turns already.
            BudgetSpent: today's tokens reach `daily_tokens`.
        """
        with self._store.transaction() as db:
            if not db.execute(f"SELECT 1 FROM sessions WHERE {_THERE}", (session,)).fetchone():  # noqa: S608
                raise NoSession(f"there is no session {session}")
            if earlier := self._earlier(session, key, turn_id):
                if (earlier.session, earlier.input) != (session, text):
                    raise KeyReused(f"turn {earlier.id} was started under it with another input")
                return earlier
            self._refuse_running(session)
            left = seconds_left()  # before its tokens are read: midnight may be in between
            if daily_tokens and (spent := self.tokens_today().total) >= daily_tokens:
                raise BudgetSpent(f"{spent} of {daily_tokens} tokens of this day are used up", left)
            mine = "SELECT count(*) FROM turns WHERE state = 'running' AND owner = ?"
            if max_running is not None and db.execute(mine, (self.owner,)).fetchone()[0] >= max_running:
                raise TooManyTurns(f"{max_running} turns are running on this instance already")
            turn = Turn(turn_id or uuid.uuid4().hex, session, self.owner, "running", text, now(), fresh=True)
            columns = "(id, session, owner, state, input, key, created)"
            row = (turn.id, session, turn.owner, turn.state, orjson.dumps(text), key, turn.created)
            db.execute(f"INSERT INTO turns {columns} VALUES (?, ?, ?, ?, ?, ?, ?)", row)  # noqa: S608
            blocks = [{"type": "text", "text": text}] if isinstance(text, str) else text
            self.put_message(turn, self.next_position(session), {"role": "user", "content": blocks})
            spoken = "\n".join(block.get("text", "") for block in blocks if block.get("type") == "text")
            db.execute("UPDATE sessions SET title = ? WHERE id = ? AND title IS NULL", (spoken[:80], session))
            self.append(session, turn.id, [run_started(session, turn.id, spoken)])
        return turn

    def _earlier(self, session: str, key: str | None, turn_id: str | None) -> Turn | None:
        where = " WHERE (session = ? AND key = ?) OR id = ?"
        with self._store.transaction() as db:
            row = db.execute(SELECT_TURN + where, (session, key, turn_id)).fetchone()
        return turn_of(row) if row else None

    def _refuse_running(self, session: str) -> None:
        with self._store.transaction() as db:
            running = "SELECT id FROM turns WHERE session = ? AND state = 'running'"
            if row := db.execute(running, (session,)).fetchone():
                raise TurnRunning(row[0])

    def turn(self, turn: str) -> Turn | None:
        """The turn of that id, if there is one."""
        rows = self._store.read(SELECT_TURN + " WHERE id = ?", turn)
        return turn_of(rows[0]) if rows else None

    def running_turns(self) -> list[Turn]:
        """The turns that run now, on any instance; dead owners' turns are among them until recovered."""
        return [
            turn_of(row)
            for row in self._store.read(SELECT_TURN + " WHERE state = 'running' ORDER BY created")
        ]

    def finish_turn(self, turn: Turn, state: str, events: Sequence[Event] = ()) -> bool:
        """Ends a turn and appends its last events in one transaction; false if it had ended already."""
        with self._store.transaction() as db:
            sql = "UPDATE turns SET state = ?, ended = ? WHERE id = ? AND state = 'running'"
            if not db.execute(sql, (state, now(), turn.id)).rowcount:
                return False
            db.execute("DELETE FROM controls WHERE turn = ?", (turn.id,))
            self.append(turn.session, turn.id, events)
        return True

    def is_steered(self, turn: Turn) -> bool:
        """Whether the user added something that the turn has not taken yet."""
        with self._store.transaction() as db:
            sql = "SELECT kind, payload FROM controls WHERE turn = ? AND kind = 'steer'"
            return any(control_of(row).input for row in db.execute(sql, (turn.id,)))

    def orphans(self) -> Iterator[Turn]:
        """Running turns whose owner is dead, one after the other.

        The dead owner's lock is held until the next one is asked for, so two instances never close the same.
        """
        for turn in self.running_turns():
            with self._owners.claim(turn.owner) as dead:
                current = self.turn(turn.id) if dead else None
                if current is not None and current.state == "running":
                    yield current

    # Events

    def append(self, session: str, turn: str, events: Sequence[Event]) -> int:
        """Appends events and returns the last sequence number; numbers grow by one, from 1, per session."""
        with self._store.transaction() as db:
            row = db.execute(
                "UPDATE sessions SET last_seq = last_seq + ? WHERE id = ? RETURNING last_seq",
                (len(events), session),
            ).fetchone()
            if row is None:
                raise NoSession(f"there is no session {session}")
            first = row[0] - len(events) + 1
            rows = [(first + n, orjson.dumps(event.wire())) for n, event in enumerate(events)]
            db.executemany(
                "INSERT INTO events (session, seq, turn, event) VALUES (?, ?, ?, ?)",
                [(session, seq, turn, data) for seq, data in rows],
            )
            self._store.after_commit(lambda: self._changes.notify(session, rows))
        return int(row[0])

    def events(self, session: str, after: int = 0, limit: int = 1000) -> list[tuple[int, Event]]:
        """Up to `limit` events behind sequence number `after`, in order."""
        return [(seq, event_of(data)) for seq, data in self.encoded_events(session, after, limit)]

    def encoded_events(
        self, session: str, after: int = 0, limit: int = 1000, size: int | None = None
    ) -> list[tuple[int, bytes]]:
        """Like `events`, each as its JSON on the wire: what a stream sends needs no decoding.

        Once they have `size` bytes together, no more are read.
        """
        sql = "SELECT seq, event FROM events WHERE session = ? AND seq > ? ORDER BY seq LIMIT ?"
        return [(seq, data) for seq, data in self._store.read(sql, session, after, limit, size=size)]

    def began_after(self, turn: Turn) -> int:
        """The sequence number before a turn's first event."""
        # From the end, where a turn is usually looked for: only what came after its start is read.
        newest = "SELECT max(seq) FROM events WHERE session = ? AND turn != ? AND seq < ("
        newest += "SELECT max(seq) FROM events WHERE session = ? AND turn = ?)"
        return int(self._store.read(newest, *(turn.session, turn.id) * 2)[0][0] or 0)

    def results_told(self, turn: Turn) -> dict[str, str]:
        """What the events of a turn say became of its calls, by call id; reads them all."""
        sql = "SELECT event FROM events WHERE session = ? AND turn = ? AND instr(event, ?)"
        rows = self._store.read(sql, turn.session, turn.id, b'"TOOL_CALL_RESULT"')
        found = [event_of(data) for (data,) in rows]
        return {e.data["toolCallId"]: e.data["content"] for e in found if e.type == "TOOL_CALL_RESULT"}

    def follow(self, session: str) -> AbstractContextManager[Signal]:
        """A bell that rings when the session has news, or was deleted.

        At once, and with the new events as they stand in the journal, for what this process commits; within
        `changes.POLL` for other processes.
        """
        return self._changes.watch(session)

    # Messages

    def messages(self, session: str) -> list[Message]:
        """The history in the form of the Messages API, as it was said."""
        return [message for _, message in self.numbered_messages(session)]

    def numbered_messages(self, session: str) -> list[tuple[int, Message]]:
        """The history with the position of each message; positions grow, and may have gaps."""
        sql = "SELECT position, message FROM messages WHERE session = ? ORDER BY position"
        return [(position, orjson.loads(data)) for position, data in self._store.read(sql, session)]

    def next_position(self, session: str) -> int:
        """The first position behind all messages."""
        with self._store.transaction() as db:
            last = "SELECT coalesce(max(position), 0) FROM messages WHERE session = ?"
            return int(db.execute(last, (session,)).fetchone()[0]) + 1

    def put_message(self, turn: Turn, position: int, message: Message | None) -> None:
        """Writes the message at `position` in place of what stood there; None removes it."""
        with self._store.transaction() as db:
            key = (turn.session, position)
            if message is None:
                db.execute("DELETE FROM messages WHERE session = ? AND position = ?", key)
            else:
                row = (*key, turn.id, orjson.dumps(message))
                # Not OR REPLACE, which would empty the columns that a newer release has added.
                sql = "INSERT INTO messages (session, position, turn, message) VALUES (?, ?, ?, ?) "
                sql += "ON CONFLICT DO UPDATE SET turn = excluded.turn, message = excluded.message"
                db.execute(sql, row)

    # Calls

    def record_call_started(self, turn: Turn, call: str, name: str, arguments: dict[str, Any]) -> Call | None:
        """Notes that a call is about to take effect; call it before the effect.

        Returns:
            None when the call is new, else what was noted before: it must not be run again.
        """
        digest = sha256(orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)).hexdigest()
        with self._store.transaction() as db:
            if row := db.execute(SELECT_CALL + " AND call = ?", (turn.id, call)).fetchone():
                return call_of(row)
            sql = "INSERT INTO calls (turn, call, name, arguments, started) VALUES (?, ?, ?, ?, ?)"
            db.execute(sql, (turn.id, call, name, digest, now()))
        return None

    def record_call_result(self, turn: Turn, call: str, result: dict[str, Any]) -> bool:
        """Notes how a started call ended; the first result stays, false for any later one."""
        with self._store.transaction() as db:
            sql = "UPDATE calls SET result = ?, ended = ? WHERE turn = ? AND call = ? AND result IS NULL"
            return bool(db.execute(sql, (orjson.dumps(result), now(), turn.id, call)).rowcount)

    def calls(self, turn: Turn) -> dict[str, Call]:
        """What was started in a turn, by call id."""
        return {call.id: call for call in map(call_of, self._store.read(SELECT_CALL, turn.id))}

    # Tokens

    def count_tokens(self, tokens: Tokens) -> None:
        """Adds tokens to those of today, which all instances of the environment share."""
        columns = "(day, input, output, cache_read, cache_write)"
        sums = ", ".join(f"{kind} = {kind} + excluded.{kind}" for kind in asdict(tokens))
        sql = f"INSERT INTO tokens {columns} VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET {sums}"  # noqa: S608
        with self._store.transaction() as db:
            db.execute(sql, (today(), *asdict(tokens).values()))

    def tokens_today(self) -> Tokens:
        """The tokens of this day (UTC), of all instances."""
        sql = "SELECT input, output, cache_read, cache_write FROM tokens WHERE day = ?"
        rows = self._store.read(sql, today())
        return Tokens(*rows[0]) if rows else Tokens()

    # Control

    def request_control(self, session: str, kind: str, payload: dict[str, Any] | None = None) -> str | None:
        """Asks the session's running turn to stop, pause, resume or steer; any instance may.

        Returns:
            The turn's id, or None when no turn runs.
        """
        with self._store.transaction() as db:
            running = "SELECT id FROM turns WHERE session = ? AND state = 'running'"
            row = db.execute(running, (session,)).fetchone()
            if row is None:
                return None
            sql = "INSERT INTO controls (turn, kind, payload) VALUES (?, ?, ?)"
            db.execute(sql, (row[0], kind, orjson.dumps(payload or {})))
            self._store.after_commit(lambda: self._changes.notify(f"control {row[0]}"))
        return str(row[0])

    def take_controls(self, turn: Turn) -> list[Control]:
        """What was asked of a turn since the last call, in order; for its owner."""
        with self._store.transaction() as db:  # it sees also what shares its commit
            rows = db.execute("SELECT kind, payload FROM controls WHERE turn = ? ORDER BY id", (turn.id,))
            controls = [control_of(row) for row in rows]
            db.execute("DELETE FROM controls WHERE turn = ?", (turn.id,))
        return controls

    def new_controls(self, turn: Turn) -> list[Control]:
        """Like `take_controls`, but waits for no writer where nothing was asked."""
        asked = self._store.read("SELECT 1 FROM controls WHERE turn = ? LIMIT 1", turn.id)
        return self.take_controls(turn) if asked else []

    async def watch_control(self, turn: Turn) -> AsyncIterator[Control]:
        """Each control as it is asked for, without end; for the turn's owner."""
        with self._changes.watch(f"control {turn.id}") as signal:
            while True:
                for control in self.new_controls(turn):
                    yield control
                await signal.wait()


def _own_workspace(session: str) -> str:
    """A name that nothing in the shared workspace has already; a client may choose `src` as an id."""
    return (
        session
        if re.fullmatch(r"[0-9a-f-]{32,36}", session)
        else "~" + sha256(session.encode()).hexdigest()[:32]
    )


def _safe(name: str) -> str:
    """A file name for an id that a model or a client chose."""
    if name.replace("-", "").replace("_", "").isalnum() and name.isascii() and len(name) <= 128:
        return name
    return "~" + sha256(name.encode()).hexdigest()
