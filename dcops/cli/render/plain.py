"""Events as plain lines, for logs and for who reads without a terminal."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from dcops.cli.render.progress import Progress, length

if TYPE_CHECKING:
    from dcops.cli.console import Console
    from dcops.core.events import OperationEvent

HEARTBEAT_SECONDS = 10.0


class Plain(Progress):
    """One line when a step starts, one when it ends, and a sign of life while it runs.

    Args:
        heartbeat: Seconds between two signs of life.
    """

    def __init__(self, console: Console, environment: str, *, heartbeat: float = HEARTBEAT_SECONDS) -> None:
        super().__init__()
        self._console = console
        self._environment = environment
        self._heartbeat = heartbeat
        self._ended = threading.Event()
        self._said = time.monotonic()
        self._running: tuple[str, float] | None = None
        self._thread: threading.Thread | None = None

    def emit(self, event: OperationEvent) -> None:
        if event.state == "started":
            self._running = (event.step, time.monotonic())
            self._beat()
        elif event.state != "note":
            self._running = None
        parts = [
            self.position(event.step),
            event.step,
            "" if event.state == "note" else event.state,
            length(event.seconds),
            # Each line begins with the environment already.
            event.text.removeprefix(f"{self._environment} "),
        ]
        self._line(parts)

    def close(self) -> None:
        self._ended.set()

    def _line(self, parts: list[str]) -> None:
        self._said = time.monotonic()
        words = [time.strftime("%H:%M:%S"), self._environment, *parts]
        self._console.tell(" ".join(word for word in words if word))

    def _beat(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, daemon=True)
            self._thread.start()

    def _live(self) -> None:
        while not self._ended.wait(max(0.01, self._said + self._heartbeat - time.monotonic())):
            # Read once: the step may end between two looks.
            running = self._running
            if time.monotonic() - self._said < self._heartbeat:
                continue
            if running is None:
                self._said = time.monotonic()
                continue
            step, since = running
            self._line([self.position(step), step, "still running", length(time.monotonic() - since)])
