"""The turns that run in this instance: how they start, what is counted of them, how they are closed."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING

import structlog

from ..journal.records import BudgetSpent, KeyReused, NoSession, TooManyTurns, TurnRunning
from .errors import ServiceError, budget_spent, busy, key_reused, no_session

if TYPE_CHECKING:
    from ..events import Toggles
    from ..journal.journal import Journal
    from ..journal.records import Turn
    from ..loop import TurnRunner
    from ..toggles import Snapshot
    from .metrics import Metrics
    from .pulse import Pulse

log = structlog.get_logger()

CLOSE_SECONDS = 2.0
RECOVER_SECONDS = 1.0


class Turns:
    """Starts turns and watches them.

    Args:
        journal: Where turns are written.
        runner: What runs them.
        metrics: What counts them.
        pulse: Beats when a turn has ended.
        limit: How many may run at the same time.
    """

    def __init__(
        self, journal: Journal, runner: TurnRunner, metrics: Metrics, pulse: Pulse, limit: int
    ) -> None:
        self._journal = journal
        self._runner = runner
        self._metrics = metrics
        self._pulse = pulse
        self._limit = limit
        self._starting = 0
        self._pinned: dict[str, Toggles] = {}

    @property
    def running(self) -> int:
        """How many run, those included that are just being written to the journal."""
        return self._starting + len(self._runner.running)

    def has_turn_of(self, session: str) -> bool:
        """Whether a turn of the session runs here."""
        return any(turn.session == session for turn in self._runner.running)

    def pending(self, values: Toggles) -> list[str]:
        """The toggles that some running turn has another value of, because it started earlier."""
        return [name for name in values if any(old[name] != values[name] for old in self._pinned.values())]

    async def start(
        self,
        session: str,
        text: str,
        key: str | None,
        toggles: Snapshot,
        *,
        create: bool = False,
        turn_id: str | None = None,
    ) -> Turn:
        """Start a turn, or find the one that an earlier request with the same key started.

        Args:
            session: Id of the session.
            text: What the user says.
            key: The request's Idempotency-Key.
            toggles: What is in force; the session's own values go before it.
            create: Make the session if there is none.
            turn_id: The turn's id, chosen by the client.

        Raises:
            ServiceError: No session, another turn runs in it, too many run here, the tokens of the day are
                used up, or the key or id stands for another turn.
        """

        def write() -> Turn:
            if create:
                self._journal.create_session(session=session)
            budget = toggles.values["daily_token_budget"]
            return self._journal.start_turn(session, text, key, self._limit, turn_id, budget)

        self._starting += 1  # from here on the instance does not end under the turn
        try:
            turn = await self._journal.submit(write)
            if turn.fresh:
                try:
                    self._run(turn, toggles)
                except Exception:  # it stands in the journal as running: or nobody would ever close it
                    self._runner.lose(turn)
                    raise
        except NoSession:
            raise no_session(session) from None
        except TurnRunning as error:
            raise busy(error.turn) from None
        except KeyReused:
            raise key_reused() from None
        except BudgetSpent as error:
            raise budget_spent(str(error), error.seconds) from None
        except TooManyTurns as error:
            raise ServiceError(
                429, "too_many_turns", f"{error}.", "Try again in a moment.", headers={"Retry-After": "1"}
            ) from None
        finally:
            self._starting -= 1
        return turn

    def _run(self, turn: Turn, toggles: Snapshot) -> None:
        own = self._journal.session(turn.session).toggles
        task = self._runner.start(turn, toggles.over(own))
        self._pinned[turn.id] = toggles.values
        self._metrics.turn_started(turn.id)
        task.add_done_callback(lambda _task: self._ended(turn))

    def _ended(self, turn: Turn) -> None:
        del self._pinned[turn.id]
        try:
            ended = self._journal.turn(turn.id)
            state = ended.state if ended else "removed"
        except sqlite3.Error:  # which may be why it ended
            state = "lost"
        self._metrics.turn_ended(turn.id, state)
        self._pulse.beat()

    async def close(self) -> None:
        """Interrupt what still runs, and say so in the conversations."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._runner.close()
        except Exception:  # the journal may be gone or the disk full; the instance ends all the same
            log.exception("turns.not_closed")

    async def recover(self) -> None:
        """Close turns whose instance died, again and again until cancelled."""
        while True:
            try:
                for turn in await self._runner.recover():
                    log.info("turn.recovered", session=turn.session, turn=turn.id)
            except Exception:  # a full disk or a lock held too long: the next round may succeed
                log.exception("turns.not_recovered")
            await asyncio.sleep(RECOVER_SECONDS)
