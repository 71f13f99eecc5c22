"""This instance: its parts, and what it says of itself."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..journal.records import NoSession
from .effects import effects
from .errors import disk_low, no_session, not_now, turns_off
from .pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..journal.journal import Journal
    from ..journal.records import Session, Turn
    from ..model.transport import Transport
    from ..settings import Settings
    from ..toggles import LiveToggles
    from .auth import Access
    from .disk import Disk
    from .metrics import Metrics
    from .removal import Removal
    from .roles import Roles
    from .turns import Turns


@dataclass
class Instance:
    """The parts of one running instance, shared by all routes.

    Attributes:
        pulse: Beats when the role changed or a turn ended.
        loading: Whether what is slow to import is still being imported.
        streams: Number of open event streams.
        stream_ended: Beats when there is one less.
    """

    settings: Settings
    journal: Journal
    transport: Transport
    turns: Turns
    metrics: Metrics
    toggles: LiveToggles
    access: Access
    roles: Roles
    pulse: Pulse
    disk: Disk
    removal: Removal
    loading: bool = True
    streams: int = 0
    stream_ended: Pulse = field(default_factory=Pulse)

    async def load(self) -> None:
        """Import what is slow to import; requests are answered meanwhile."""
        await self.transport.load()
        self.loading = False

    def reasons(self) -> list[str]:
        """Why turns cannot run here; empty when they can."""
        return [
            *(["the model's client is being loaded"] if self.loading else []),
            *([f"toggles: {self.toggles.error}"] if self.toggles.current is None else []),
            *(["draining"] if self.roles.acknowledged == "draining" else []),
            *([shortage] if (shortage := self.disk.shortage()) else []),
        ]

    @property
    def turns_off(self) -> bool:
        """Whether the operators let no turn start; a decision and no fault, so `reasons` does not name it."""
        return self.toggles.current is not None and not self.toggles.current.values["take_turns"]

    def report(self) -> dict[str, Any]:
        """What dcops reads as acknowledgement: `GET /v1/instance`."""
        toggles = self.toggles.current
        running = self.turns.running
        return {
            "instance": self.settings.instance,
            "release": self.settings.release,
            **self.roles.report(),
            "toggles": {
                "generation": toggles.generation if toggles else None,
                "digest": toggles.digest if toggles else None,
                "error": self.toggles.error,
            },
            "turns_off": self.turns_off,
            "running_turns": running,
            "draining_done": self.roles.goes_away and not running,
            "state": asdict(self.journal.about()),
            "tokens": self.tokens(),
        }

    def tokens(self) -> dict[str, int]:
        """The tokens of this day (UTC) of all instances, by kind, and how many it may have; 0 for any."""
        used = self.journal.tokens_today()
        return {**asdict(used), "total": used.total, "budget": self.budget}

    @property
    def budget(self) -> int:
        """Tokens that a day may have, all instances together; 0 is any number."""
        return int(self.toggles.current.values["daily_token_budget"]) if self.toggles.current else 0

    async def toggle_report(self) -> dict[str, Any]:
        """The toggles in force, those that running turns do not have yet, and remarks: `GET /v1/toggles`.

        Raises:
            ServiceError: No toggles are in force.
        """
        current = self.toggles.current
        if current is None:
            raise not_now(self.reasons())
        limits = await self.transport.catalogue.limits(current.values["api_model"])
        return {
            "generation": current.generation,
            "digest": current.digest,
            "error": self.toggles.error,
            "values": current.values,
            "pending": self.turns.pending(current.values),
            "effects": effects(current.values, limits, datetime.now(UTC).date()),
        }

    @contextmanager
    def counted_stream(self) -> Iterator[None]:
        """Counts an open event stream while it lasts."""
        self.streams += 1
        self.metrics.sse_clients.inc()
        try:
            yield
        finally:
            self.streams -= 1
            self.metrics.sse_clients.dec()
            self.stream_ended.beat()

    def session(self, session: str) -> Session:
        """The session of that id.

        Raises:
            ServiceError: There is none.
        """
        try:
            return self.journal.session(session)
        except NoSession:
            raise no_session(session) from None

    def has_session(self, session: str) -> bool:
        """Whether the session is still there."""
        try:
            self.journal.session(session)
        except NoSession:
            return False
        return True

    async def start_turn(
        self, session: str, text: str, key: str | None, *, create: bool = False, turn_id: str | None = None
    ) -> Turn:
        """Start a turn with the toggles in force; see `Turns.start`.

        Raises:
            ServiceError: This instance takes no turns now, or the session does not.
        """
        toggles = self.toggles.current
        if not self.roles.takes_turns or self.loading or toggles is None:
            raise not_now(self.reasons() or [f"this instance is {self.roles.acknowledged}"])
        if not toggles.values["take_turns"]:  # the environment's alone: no session has a value for it
            raise turns_off()
        if shortage := self.disk.shortage():
            raise disk_low(shortage)
        return await self.turns.start(session, text, key, toggles, create=create, turn_id=turn_id)
