"""The life of a turn: it begins, obeys its user, and ends with a history that the API takes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from .. import events
from ..events import Fault
from ..model import history
from .conversation import Conversation
from .limits import LimitReached
from .recorder import Recorder
from .recovery import UNWRITTEN, unheard
from .wishes import Wishes

if TYPE_CHECKING:
    from ..events import Event, Toggles
    from ..journal.records import Control, Turn
    from .parts import Parts

STOPPED = "stopped by the user"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """How a turn ended: its state, why as half a sentence, and its last events."""

    state: str
    reason: str
    events: tuple[Event, ...]


class TurnRun:
    """One turn while it runs."""

    def __init__(self, turn: Turn, parts: Parts, toggles: Toggles) -> None:
        """Begins at once; `run` must be awaited for the turn to end."""
        self.turn = turn
        self._journal = parts.journal
        # What nobody can read must not go on, least of all a command that runs for an hour.
        self._recorder = Recorder(parts.journal, turn, parts.seen, lambda: self.interrupt(UNWRITTEN))
        self._wishes = Wishes(turn, self._recorder)
        self._conversation = Conversation(turn, parts, toggles, self._recorder, self._wishes, self._look)
        self._broken_off: Ending | None = None
        self._timer: asyncio.TimerHandle | None = None
        if limit := self._conversation.limits.seconds:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(limit.value, lambda: self._break_off(self._limited(limit)))
        self._work = asyncio.create_task(self._conversation.run())

    async def run(self) -> bool:
        """Runs the turn to its end; raises nothing. Whether it is closed in the journal."""
        try:
            while not await self._ended():
                self._work = asyncio.create_task(self._conversation.run())
                if self._broken_off:
                    self._work.cancel()
        except Exception:  # only the journal can fail here, so nothing can be said in it
            log.exception("turn.lost", session=self.turn.session, turn=self.turn.id)
            return False
        finally:
            if self._timer:
                self._timer.cancel()
            if self._work.done():  # or the loop itself is ending
                self._let_go()
        return True

    def _let_go(self) -> None:
        # All of these know each other: in a circle the whole history would stay until garbage is looked for.
        self._broken_off = self._broken_off or Ending("done", "", ())  # there is nothing left to break off
        self._conversation.let_go()
        del self._work, self._conversation, self._recorder, self._wishes

    async def _ended(self) -> bool:
        """Whether the turn is over once its work is; not if the user added something in the last moment."""
        obey = asyncio.create_task(self._obey())
        await asyncio.wait({self._work})
        obey.cancel()
        await asyncio.wait({obey})  # what it took from the journal has arrived here
        ending = self._ending(self._work)
        if ending.state == "done" and self._wishes.steered:
            return False
        return await self._end(ending)

    def stop(self) -> None:
        """Ends the turn as its user wishes."""
        told = events.run_finished(self.turn.session, self.turn.id, stop_reason="stopped", cancelled=True)
        self._break_off(Ending("stopped", STOPPED, (_interrupted(STOPPED), told)))

    def interrupt(self, reason: str) -> None:
        """Ends the turn although nobody wished it; `reason` is half a sentence."""
        told = events.run_error(f"The turn was interrupted: {reason}.", "interrupted")
        self._break_off(Ending("interrupted", reason, (_interrupted(reason), told)))

    def _break_off(self, ending: Ending) -> None:
        if self._broken_off is None:
            self._broken_off = ending
            self._work.cancel()

    # Control

    async def _obey(self) -> None:
        try:
            async for control in self._journal.watch_control(self.turn):
                self._control(control)
        except Exception:  # a turn that nobody can stop must not go on
            log.exception("turn.deaf", session=self.turn.session, turn=self.turn.id)
            self.interrupt("its journal cannot be read")

    def _look(self) -> None:
        """Obeys what came in the last moment."""
        for control in self._journal.new_controls(self.turn):
            self._control(control)

    def _control(self, control: Control) -> None:
        match control.kind:
            case "stop":
                self.stop()
            case "pause":
                self._wishes.pause()
            case "resume":
                self._wishes.resume()
            case "steer" if control.input:
                self._wishes.steer(history.user(control.input)["content"])

    # The end

    def _ending(self, work: asyncio.Task[str]) -> Ending:
        if self._broken_off and (work.cancelled() or work.exception()):
            return self._broken_off
        match work.exception():
            case None:
                told = events.run_finished(self.turn.session, self.turn.id, stop_reason=work.result())
                return Ending("done", "", (told,))
            case LimitReached() as limit:
                return self._limited(limit)
            case Fault() as fault:
                log.warning("turn.fault", session=self.turn.session, turn=self.turn.id, code=fault.code)
                state = "interrupted" if fault.mid_stream else "failed"
                reason = f"{fault} ({fault.code})"
                return Ending(state, reason, (_interrupted(reason), events.run_error(str(fault), fault.code)))
            case error:
                log.error("turn.failed", session=self.turn.session, turn=self.turn.id, exc_info=error)
                reason = f"a fault in the agent ({type(error).__name__})"
                told = events.run_error(f"{type(error).__name__}: {error}", "internal_error")
                return Ending("failed", reason, (_interrupted(reason), told))

    def _limited(self, limit: LimitReached) -> Ending:
        log.info("turn.limited", session=self.turn.session, turn=self.turn.id, limit=limit.limit)
        limited = events.custom("turn.limited", {"limit": limit.limit, "value": limit.value})
        told = events.run_finished(self.turn.session, self.turn.id, stop_reason=limit.limit)
        return Ending("limited", str(limit), (limited, told))

    async def _end(self, ending: Ending) -> bool:
        """Makes the history valid, whatever happened, and closes the turn; false if it must go on."""
        if ending.state != "done":
            await self._conversation.break_off(ending.reason)
        await self._recorder.flush()
        if not await self._journal.submit(partial(self._finish, ending)):
            return False
        log.info("turn.finished", session=self.turn.session, turn=self.turn.id, state=ending.state)
        return True

    def _finish(self, ending: Ending) -> bool:
        # In one transaction, so that what the user adds is either answered or refused.
        if ending.state == "done" and self._journal.is_steered(self.turn):
            return False
        told = unheard(self._journal, self.turn)
        self._journal.finish_turn(self.turn, ending.state, [*told, *ending.events])
        return True


def _interrupted(reason: str) -> Event:
    return events.custom("turn.interrupted", {"reason": reason})
