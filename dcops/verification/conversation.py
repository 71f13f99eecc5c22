"""One conversation with the twin, whose events are read while they come."""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dcops.errors import DcopsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from dcops.client import Client, Event

WAIT_SECONDS = 15.0
RUN_ENDS = frozenset({"RUN_FINISHED", "RUN_ERROR"})


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event, its sequence number, and when it came (``time.monotonic``)."""

    seq: int
    event: Event
    at: float


class Conversation:
    """A synthetic session.

    Attributes:
        id: The session's id.
        run: The events since the last `say`, as far as they were waited for.
    """

    def __init__(self, agent: Client, session: str) -> None:
        self._agent = agent
        self.id = session
        self.run: list[Arrived] = []
        self._queue: queue.Queue[Arrived | DcopsError] = queue.Queue()
        self._last = 0
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        try:
            for seq, event in self._agent.events(self.id):
                self._queue.put(Arrived(seq, event, time.monotonic()))
        except DcopsError as error:
            self._queue.put(error)

    def say(self, words: str) -> str:
        """Start a turn; returns its id."""
        self.run = []
        return self._agent.start_turn(self.id, words)

    def ask(self, words: str) -> list[Event]:
        """Start a turn, wait for its end, and return its events."""
        self.say(words)
        return self.finish()

    def wait_for(self, what: str, matches: Callable[[Event], bool], seconds: float = WAIT_SECONDS) -> Arrived:
        """Wait for an event that has not been waited for yet.

        Raises:
            AssertionError: It did not come in time.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                arrived = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                seen = ", ".join(kind_of(each.event) for each in self.run[-12:]) or "no event"
                raise AssertionError(f"events: expected {what} within {seconds:g} s, got {seen}") from None
            match arrived:
                case DcopsError():
                    raise AssertionError(f"events: expected {what}, got {arrived.what} {arrived.why}")
                case Arrived():
                    self.run.append(arrived)
                    if matches(arrived.event):
                        return arrived

    def finish(self, seconds: float = WAIT_SECONDS) -> list[Event]:
        """Wait for the end of the turn and return its events."""
        self.wait_for("the end of the turn", lambda event: event["type"] in RUN_ENDS, seconds)
        return [each.event for each in self.run]


def kind_of(event: Event) -> str:
    """Its type, for ``CUSTOM`` its name."""
    return str(event["name"] if event["type"] == "CUSTOM" else event["type"])


def of_kind(events: Iterable[Event], kind: str) -> list[Event]:
    return [event for event in events if kind_of(event) == kind]


def joined(events: Iterable[Event], kind: str) -> str:
    """The pieces of a text put together: the deltas of this kind, or the output of tools."""
    return "".join(_piece(event) for event in of_kind(events, kind))


def _piece(event: Event) -> str:
    value: dict[str, Any] = event.get("value") or {}
    return str(event.get("delta") or value.get("text") or "")
