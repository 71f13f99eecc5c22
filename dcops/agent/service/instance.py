"""This instance: its parts, what it says of itself, and how turns start in it."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..journal import NoSession, TooManyTurns, TurnRunning
from .errors import ServiceError
from .pulse import Pulse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..journal import Journal, Session
    from ..loop import TurnRunner
    from ..settings import Settings
    from ..toggles import LiveToggles
    from .auth import Access
    from .metrics import Metrics
    from .roles import Roles


class Instance:
    """The parts of one running instance, shared by all routes.

    Attributes:
        loading: Whether the model's client is still being imported.
        streams: Number of open event streams.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        journal: Journal,
        runner: TurnRunner,
        metrics: Metrics,
        toggles: LiveToggles,
        access: Access,
        roles: Roles,
        pulse: Pulse,
    ) -> None:
        self.settings = settings
        self.journal = journal
        self.runner = runner
        self.metrics = metrics
        self.toggles = toggles
        self.access = access
        self.roles = roles
        self.pulse = pulse
        self.loading = True
        self.streams = 0
        self.stream_ended = Pulse()
        self._starting = 0

    # What it says of itself

    def reasons(self) -> list[str]:
        """Why turns cannot run here; empty when they can."""
        return [
            *(["the model's client is being loaded"] if self.loading else []),
            *([f"toggles: {self.toggles.error}"] if self.toggles.current is None else []),
            *(["draining"] if self.roles.acknowledged == "draining" else []),
        ]

    @property
    def running_turns(self) -> int:
        """Turns that run in this instance, those that are just being written to the journal included."""
        return self._starting + len(self.runner.running)

    def runs_turn_of(self, session: str) -> bool:
        """Whether a turn of the session runs in this instance."""
        return any(turn.session == session for turn in self.runner.running)

    def report(self) -> dict[str, Any]:
        """What dcops reads as acknowledgement: `GET /v1/instance`."""
        toggles = self.toggles.current
        running = self.running_turns
        return {
            "instance": self.settings.instance,
            "release": self.settings.release,
            **self.roles.report(),
            "toggles": {
                "generation": toggles.generation if toggles else None,
                "digest": toggles.digest if toggles else None,
                "error": self.toggles.error,
            },
            "running_turns": running,
            "draining_done": self.roles.goes_away and not running,
            "state": {"id": self.journal.id, "created": self.journal.created},
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
            self.stream_ended.beat()
            self.metrics.sse_clients.dec()

    # Sessions and turns

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

    async def start_turn(self, session: str, text: str, key: str | None) -> str:
        """Start a turn, or find the one that an earlier request with the same key started.

        Args:
            session: Id of the session.
            text: What the user says.
            key: The request's Idempotency-Key.

        Returns:
            The turn's id.

        Raises:
            ServiceError: No session, another turn runs in it, or this instance takes no turn now.
        """
        toggles = self.toggles.current
        if not self.roles.takes_turns or self.loading or toggles is None:
            raise _not_now("; ".join(self.reasons()) or f"this instance is {self.roles.acknowledged}")
        self._starting += 1  # from here on the instance does not end under the turn
        try:
            turn = await self.journal.submit(
                lambda: self.journal.start_turn(session, text, key, self.settings.max_running_turns)
            )
            if turn.fresh:
                values = {**toggles.values, **self.session(session).toggles}
                self.runner.start(turn, values)
        except NoSession:
            raise no_session(session) from None
        except TurnRunning as error:
            raise busy(error.turn) from None
        except TooManyTurns as error:
            raise ServiceError(
                429, "too_many_turns", f"{error}.", "Try again in a moment.", headers={"Retry-After": "1"}
            ) from None
        finally:
            self._starting -= 1
        return turn.id


def no_session(session: str) -> ServiceError:
    """The error for a session that is not there."""
    return ServiceError(404, "no_session", f"There is no session {session}.", "GET /v1/sessions lists them.")


def busy(turn: str) -> ServiceError:
    """The error for a session whose turn is running."""
    return ServiceError(
        409,
        "turn_running",
        "Another turn is running in this session.",
        "Wait for its end, or stop it with POST /v1/sessions/{id}/stop.",
        turn=turn,
    )


def _not_now(reasons: str) -> ServiceError:
    return ServiceError(
        503,
        "not_taking_turns",
        f"No turn can start here now: {reasons}.",
        "Try again in a moment; after a switch another instance answers.",
        headers={"Retry-After": "1"},
    )
