"""Runs the calls of a turn: each a task, each with exactly one outcome, none in the reader's way."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import structlog

from .. import events
from ..model.history import Outcome, interrupted, not_executed
from ..tools.output import plain_text
from .execution import Execution
from .lanes import Lanes
from .live import Live

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..events import Toggles
    from ..journal.journal import Journal
    from ..journal.records import Call as Noted
    from ..journal.records import Turn
    from ..tools.tool import Tool, ToolContext
    from .call import Call
    from .lanes import Ticket

log = structlog.get_logger(__name__)


class Dispatch:
    """The calls of one turn.

    Attributes:
        toggles: the turn's values.
        context: gives a call, by its id, its surroundings.
        outcomes: what the model is told, by call id; the first outcome of a call stays.
    """

    def __init__(
        self,
        turn: Turn,
        journal: Journal,
        emit: Callable[..., None],
        note: Callable[[Callable[[], object]], None],
        context: Callable[[str], ToolContext],
        *,
        paused: Callable[[], bool],
        ready: Callable[[], Awaitable[None]],
        toggles: Toggles,
    ) -> None:
        """Connects the calls with their turn.

        Args:
            turn: the turn that they belong to.
            journal: where a call is noted before its effect.
            emit: takes the events.
            note: takes what is written in one transaction with the events before it.
            context: gives a call, by id, its surroundings.
            paused: whether no call may start now.
            ready: returns when the turn is not paused, and all that was emitted and noted is on disk.
            toggles: the turn's values.
        """
        self.toggles = toggles
        self.context = context
        self.outcomes: dict[str, Outcome] = {}
        self._turn = turn
        self._journal = journal
        self._emit = emit
        self._note = note
        self._paused = paused
        self._ready = ready
        delayed = toggles["enable_tool_buffer"] and toggles["enable_buffer_delay"]
        self._delay = toggles["buffer_delay_ms"] / 1000 if delayed else 0.0
        self._lanes = Lanes(toggles["max_parallel_tools"])
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._begun: set[str] = set()
        self._earlier: dict[str, Noted] = {}
        self._reason = "the turn ended"

    def start(self, call: Call) -> None:
        """Begins a call; never waits. A second call under the same id is ignored."""
        if call.id in self._tasks or call.id in self.outcomes:
            return
        self._emit(events.custom("tool.queued", {"call": call.id}))
        log.debug("call.queued", turn=self._turn.id, call=call.id, tool=call.tool.name)
        ticket = self._lanes.enter(call.lane)
        if ticket.admitted.is_set() and not self._delay and not self._paused():
            self._begin(call)  # now, so that it shares the commit that the reply's own events wait for
        self._tasks[call.id] = asyncio.create_task(self._run(call, ticket, time.monotonic() + self._delay))

    def forget(self, call: str) -> None:
        """Frees the id of a call that never ran; the model made another one by it."""
        if call not in self._tasks:
            self.outcomes.pop(call, None)

    def refuse(self, call: str, outcome: Outcome) -> None:
        """Gives a call its outcome without running it."""
        if call not in self._tasks:
            self._settle(call, outcome, "not_run")

    async def settled(self) -> dict[str, Outcome]:
        """The outcomes, once every call that was started has its own."""
        if self._tasks:
            await asyncio.wait(self._tasks.values())
        for task in self._tasks.values():
            task.result()  # tools' failures are outcomes; what is raised here is the journal's
        return self.outcomes

    async def cancel(self, reason: str) -> None:
        """Ends what runs, within the time that tools have for it; every call gets its outcome."""
        self._reason = reason
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        for call in self._tasks:  # a task that was cancelled before its first step never ran at all
            self._settle(call, not_executed(reason), "not_run")

    async def _run(self, call: Call, ticket: Ticket, earliest: float) -> None:
        try:
            await ticket.admitted.wait()
            if (wait := earliest - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            if call.id not in self._begun:
                await self._ready()
                self._begin(call)
            await self._ready()
            if earlier := self._earlier.get(call.id):  # noted by an earlier attempt: it must not happen twice
                known = Outcome(**earlier.result) if earlier.result else interrupted("it was begun before")
                self._settle(call.id, known, "not_run")
            else:
                await self._execute(call)
        except asyncio.CancelledError:
            self._settle(call.id, not_executed(self._reason), "not_run")
        finally:
            self._lanes.leave(ticket)

    def _begin(self, call: Call) -> None:
        """Notes that a call is about to take effect."""
        self._begun.add(call.id)

        def write() -> None:
            tool, arguments = call.tool.name, call.arguments
            if earlier := self._journal.record_call_started(self._turn, call.id, tool, arguments):
                self._earlier[call.id] = earlier

        self._note(write)

    async def _execute(self, call: Call) -> None:
        try:
            context = self.context(call.id)
        except OSError as error:  # an earlier call may have taken the workspace away
            told = not_executed(plain_text(f"the workspace cannot be used ({error})"))
            self._settle(call.id, told, "not_run")
            return
        self._emit(events.custom("tool.started", {"call": call.id}))
        began = time.monotonic()
        execution = Execution(call, context, self._live(call.id, call.tool), self._emit)
        status, exit_code, directory = "cancelled", None, None
        try:
            result = await execution.run()
        except asyncio.CancelledError:
            outcome = interrupted(self._reason, execution.partial)
        else:
            status, exit_code, directory = result.status, result.exit_code, result.directory
            outcome = Outcome(result.content, is_error=status != "done")
        elapsed = round((time.monotonic() - began) * 1000)
        self._settle(call.id, outcome, status, exit_code=exit_code, elapsed_ms=elapsed)
        if directory:
            self._note(lambda: self._journal.update_session(self._turn.session, directory=directory))

    def _live(self, call: str, tool: Tool) -> Live | None:
        """What shows the call's output, if its toggle lets it be shown while it comes."""
        shown = self.toggles.get(tool.streams_by, True)
        return Live(call, self._emit, self.toggles["output_interval_ms"] / 1000) if shown else None

    def _settle(self, call: str, outcome: Outcome, status: str, **more: Any) -> None:
        """The one place where a call gets its outcome."""
        if call in self.outcomes:
            return
        self.outcomes[call] = outcome
        finished = {"call": call, "status": status, "exit_code": None, "elapsed_ms": 0, **more}
        log.debug("call.finished", turn=self._turn.id, size=len(outcome.content), **finished)
        self._emit(events.custom("tool.finished", finished), events.tool_call_result(call, outcome.content))
        if call in self._begun:
            self._note(lambda: self._journal.record_call_result(self._turn, call, asdict(outcome)))
