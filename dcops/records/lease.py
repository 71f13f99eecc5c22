"""The lock as all machines see it: a lease in the engine's control store, with a heartbeat and a fence.

Whoever takes it counts the fence up, and from then on the store refuses what an earlier holder still sends.
"""

from __future__ import annotations

import contextlib
import json
import secrets
import threading
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from dcops.errors import DcopsError, LockLost, PreconditionMissing
from dcops.records.holder import Holder, machine

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from dcops.core.protocols import ControlStore, Seen

PATH = "records/lease.json"
FORMAT = 1
HEARTBEAT_SECONDS = 5.0
DEAD_SECONDS = 30.0
# Steps that pass faster than this are not worth a round trip.
STEP_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Found:
    """A lease as it was found: nobody's when ``holder`` is None; ``age`` is seconds since a heartbeat."""

    fence: int
    holder: Holder | None
    age: float


class Lease:
    """At most one operator of an environment, on whatever machine.

    Args:
        store: Where it lies; everything that this store writes while the lease is held carries its fence.
        directory: The state directory whose flock is held while the lease is taken.
        say: Is told when the lease of a dead operator was taken over.
    """

    def __init__(self, store: ControlStore, directory: Path, say: Callable[[str], None]) -> None:
        self._store = store
        self._directory = directory
        self._say = say
        self._fence = 0
        self._holder: Holder | None = None
        self._ended = threading.Event()
        self._heart: threading.Thread | None = None

    def take(self, holder: Holder) -> dict[str, Any] | None:
        """Take the lease, where nobody who lives has it.

        Returns:
            What is known of who has it; None when it is ours now, or there is no store yet to hold one.

        Raises:
            PreconditionMissing: A newer dcops wrote it, or the store cannot be reached.
        """
        # A store that was removed and made anew must not count from where an old operator still is.
        fence, expect, died = secrets.randbits(32), None, ""
        while True:
            document = _document(fence, holder)
            seen = self._store.swap(PATH, document, expect=expect)
            if seen is None or seen.content == document:
                break
            if seen.content is None and expect is None:
                return None
            found = _parse(seen)
            if living := self._living(found):
                return living
            fence, expect, died = found.fence + 1, seen.content, _obituary(found)
        self._fence, self._holder = fence, holder
        self._store.fence(PATH, fence)
        self._ended.clear()
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)
        self._heart.start()
        if died:
            self._say(f"took over from {died}")
        return None

    def step(self, name: str) -> None:
        """Tell others which step runs; the next heartbeat says it."""
        if self._holder is not None:
            self._holder = replace(self._holder, step=name)

    def release(self) -> None:
        """Let go; the file stays, as its fence only grows."""
        if self._heart is None:
            return
        self._ended.set()
        self._heart.join()
        # A store that is gone, or lost to another operator, has nothing to be given back.
        with contextlib.suppress(DcopsError):
            self._store.write({PATH: _document(self._fence, None)})
        self._store.fence(PATH, None)
        self._heart = self._holder = None

    def holder(self) -> dict[str, Any] | None:
        """What is known of the living holder with another state directory; None when there is none."""
        seen = self._store.look(PATH)
        return None if seen.content is None else self._living(_parse(seen))

    def _living(self, found: Found) -> dict[str, Any] | None:
        holder = found.holder
        if holder is None or holder.gone():
            return None
        if holder.machine != machine():
            return holder.told() | {"heard": round(found.age, 1)} if found.age < DEAD_SECONDS else None
        # Whoever had it by way of our own directory has let go of the flock since.
        return None if holder.directory == str(self._directory.resolve()) else holder.told()

    def _beat(self) -> None:
        told, at = self._holder, time.monotonic()
        while not self._ended.wait(STEP_SECONDS):
            if self._holder is told and time.monotonic() < at + HEARTBEAT_SECONDS:
                continue
            told, at = self._holder, time.monotonic()
            try:
                self._store.write({PATH: _document(self._fence, told)})
            except LockLost:
                return
            except Exception:  # noqa: S112 - an engine that restarts comes back; else the operation fails by itself
                continue


def _document(fence: int, holder: Holder | None) -> bytes:
    document = {"format": FORMAT, "fence": fence, **(asdict(holder) if holder else {})}
    return json.dumps(document, sort_keys=True).encode()


def _parse(seen: Seen) -> Found:
    try:
        document = dict(json.loads(seen.content or b"{}"))
        newer = document.pop("format", FORMAT) > FORMAT
        fence = int(document.pop("fence", secrets.randbits(32)))
        found = Found(fence, Holder(**document) if document and not newer else None, seen.age)
    except (ValueError, TypeError):
        # Nobody can say whose it was; whoever it was is refused by the fence of the next one.
        return Found(secrets.randbits(32), None, seen.age)
    if newer:
        raise PreconditionMissing(
            "DC-STATE-NEWER",
            "a newer dcops works on this environment, or did",
            why=f"this version reads format {FORMAT}",
            do="upgrade dcops on this machine",
        )
    return found


def _obituary(found: Found) -> str:
    if found.holder is None:
        return ""
    step = f" at step '{found.holder.step}'" if found.holder.step else ""
    ago = f"{found.age:.0f} s" if found.age < 120 else f"{found.age / 60:.0f} min"
    return f"{found.holder.by}, whose {found.holder.operation} died{step} {ago} ago"
