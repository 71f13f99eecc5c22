"""Talk to the agent: one conversation, turn by turn, across deployments."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

from dcops.errors import PreconditionMissing
from dcops.operations.current import spoken_to, visit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.client import Client, Event
    from dcops.operations.world import World

SWITCH_SECONDS = 10.0
RETRY_SECONDS = 0.1


class Conversation:
    """A session of the serving agent.

    Attributes:
        session: Its id; another conversation can go on with it.
        turn: Id of the turn that was started last.
    """

    def __init__(self, client: Client, session: str) -> None:
        self._client = client
        self.session = session
        self.turn = ""

    def say(self, text: str) -> Iterator[tuple[int, Event]]:
        """Start a turn, and give its events until it ends.

        A stream that drains or drops is resumed, so a deployment in between goes unnoticed.

        Yields:
            Sequence number and AG-UI event; ``RUN_FINISHED`` or ``RUN_ERROR`` is the last one.

        Raises:
            PreconditionMissing: Another turn runs, the agent is busy, or it cannot be reached.
        """
        after = int(self._client.session(self.session)["last_seq"])
        self.turn = self._start(text)
        begun = False
        for seq, event in self._client.events(self.session, after):
            begun = begun or event.get("runId") == self.turn
            if not begun:
                continue
            yield seq, event
            if event["type"] == "RUN_ERROR" or (event["type"] == "RUN_FINISHED" and _is_of(event, self.turn)):
                return

    def stop(self) -> None:
        """Stop the running turn; its last event follows in the stream."""
        self._client.stop(self.session)

    def _start(self, text: str) -> str:
        """Start the turn once, also when the instance that is asked has just stopped to take turns."""
        key, deadline = secrets.token_hex(16), time.monotonic() + SWITCH_SECONDS
        while True:
            try:
                return self._client.start_turn(self.session, text, key)
            except PreconditionMissing as error:
                if error.code != "DC-UNAVAILABLE" or time.monotonic() >= deadline:
                    raise
                time.sleep(RETRY_SECONDS)


def converse(world: World, environment: str, session: str | None = None) -> Conversation:
    """Begin a conversation, or go on with an earlier one.

    Raises:
        NotFound: No such environment or session.
        PreconditionMissing: Nothing is deployed, or nothing answers.
    """
    place = visit(world, environment)
    with spoken_to(place):
        client = place.client()
        if session is None:
            return Conversation(client, client.create_session())
        return Conversation(client, str(client.session(session)["id"]))


def outcome(event: Event) -> dict[str, Any]:
    """How a turn ended, from its last event: ``result`` is ok, stopped or failed; ``message`` says why."""
    if event["type"] == "RUN_ERROR":
        return {"result": "failed", "message": event.get("message", ""), "code": event.get("code", "")}
    cancelled = (event.get("outcome") or {}).get("type") == "cancelled"
    return {"result": "stopped" if cancelled else "ok", "message": "", "code": ""}


def _is_of(event: Event, turn: str) -> bool:
    return bool(event.get("runId") == turn)
