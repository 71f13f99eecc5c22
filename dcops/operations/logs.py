"""Log lines of an environment's instances."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcops.operations.chosen import chosen
from dcops.operations.current import POINTER, observe, visit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.operations.world import Place, World

POLL_SECONDS = 0.5
AHEAD = 1000  # lines that are read before they are asked for


@dataclass(frozen=True, slots=True)
class Line:
    """One line of one instance."""

    instance: str
    text: str


@dataclass(frozen=True, slots=True)
class Logs:
    """Lines, the oldest first, beginning with those of ``instance``; while following, more come."""

    instance: str
    lines: Iterator[Line]


def read_logs(
    world: World,
    environment: str,
    *,
    instance: str | None = None,
    lines: int | None = 100,
    since: float | None = None,
    follow: bool = False,
) -> Logs:
    """Lines of one instance.

    Args:
        instance: Its id, or a role that one has; None for the one that serves, and when following for the
            one that serves after it.
        lines: How many from the end; None for all.
        since: Seconds since the epoch.
        follow: Wait for new ones.

    Raises:
        NotFound: Nothing serves, or there is no such instance.
    """
    place = visit(world, environment)
    first = chosen(observe(place), environment, instance)
    if follow:
        found = _follow(place, first, lines, since, serving=instance is None)
    else:
        found = (Line(first, text) for text in place.engine.logs(first, lines=lines, since=since))
    return Logs(first, found)


def _follow(
    place: Place, instance: str, lines: int | None, since: float | None, *, serving: bool
) -> Iterator[Line]:
    """Until the instance has ended; a restart does not end it."""
    reader = _Reader(place.engine.logs(instance, lines=lines, follow=True, since=since))
    looked = time.time()
    while True:
        for text in reader.within(POLL_SECONDS):
            yield Line(instance, text)
        before, looked = looked, time.time()
        successor = _successor(place, instance) if serving else ""
        if successor:
            place.say("logs", f"{successor} serves now, after {instance}")
            instance = successor
            reader = _Reader(place.engine.logs(instance, lines=None, follow=True, since=before))
        elif reader.ended:
            if not _goes_on(place, instance):
                return
            # Its log ends with each run of it.
            reader = _Reader(place.engine.logs(instance, lines=None, follow=True, since=reader.ended))
            time.sleep(POLL_SECONDS)


def _successor(place: Place, instance: str) -> str:
    """Which other instance serves now; empty when none does."""
    pointer = place.store.read(POINTER)[POINTER] or b""
    if pointer.decode().strip() == place.engine.address(instance):
        return ""
    current = observe(place)
    return current.serving if current.serving in current.instances.keys() - {instance} else ""


def _goes_on(place: Place, instance: str) -> bool:
    return any(each.id == instance and each.status != "exited" for each in place.engine.instances())


class _Reader:
    """Reads lines in a thread of its own, as nobody can wait for a line and for a pointer at a time.

    Attributes:
        ended: When the lines came to their end, in seconds since the epoch; 0 before.
    """

    def __init__(self, lines: Iterator[str]) -> None:
        self.ended = 0.0
        self._lines = lines
        self._read: queue.Queue[str | Exception | None] = queue.Queue(AHEAD)
        threading.Thread(target=self._run, daemon=True).start()

    def within(self, seconds: float) -> Iterator[str]:
        """What comes in this time, or until the end.

        Raises:
            Exception: What went wrong while reading.
        """
        deadline = time.monotonic() + seconds
        with contextlib.suppress(queue.Empty):
            while not self.ended:
                found = self._read.get(timeout=max(0.0, deadline - time.monotonic()))
                if isinstance(found, Exception):
                    raise found
                if found is None:
                    self.ended = time.time()
                else:
                    yield found

    def _run(self) -> None:
        try:
            for line in self._lines:
                self._read.put(line)
            self._read.put(None)
        except Exception as error:
            self._read.put(error)
