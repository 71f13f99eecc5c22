"""Runs the calls of a turn: each a task, each with exactly one outcome, none in the reader's way."""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from .. import events
from ..history import Outcome, interrupted, not_executed
from ..tools.tool import ToolOutput, ToolProgress, ToolResult
from .live import Live

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from ..journal.journal import Journal
    from ..journal.records import Turn
    from ..tools.tool import ToolContext
    from .call import Call

PARTIAL = 4_000
"""Characters of an interrupted call's output that the model is told."""


def _text(text: str) -> str:
    """What a tool says, without the lone surrogates that stand for undecodable bytes in names of files."""
    return text.encode(errors="replace").decode()


class Dispatch:
    """The calls of one turn.

    Attributes:
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
        ready: Callable[[], Awaitable[None]],
        live: bool,
    ) -> None:
        """Connects the calls with their turn.

        Args:
            turn: the turn that they belong to.
            journal: where a call is noted before its effect.
            emit: takes the events.
            note: takes what is written in one transaction with the events before it.
            context: gives a call, by id, its surroundings.
            ready: returns when a call may take effect: the turn is not paused, and the call is on disk.
            live: whether output is told while it comes.
        """
        self._turn = turn
        self._journal = journal
        self._emit = emit
        self._note = note
        self._context = context
        self._ready = ready
        self._live = live
        self._lanes: dict[str, asyncio.Lock] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._reason = "the turn ended"
        self.outcomes: dict[str, Outcome] = {}

    def start(self, call: Call) -> None:
        """Begins a call; never waits. A second call under the same id is ignored."""
        if call.id not in self._tasks and call.id not in self.outcomes:
            self._emit(events.custom("tool.queued", {"call": call.id}))
            self._tasks[call.id] = asyncio.create_task(self._run(call))

    def refuse(self, call: str, outcome: Outcome) -> None:
        """Gives a call its outcome without running it."""
        if call not in self._tasks:
            self._settle(call, outcome, "not_run")

    @property
    def begun(self) -> bool:
        """Whether any call was started, and so may have had effects."""
        return bool(self._tasks)

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
        running = [task for task in self._tasks.values() if not task.done()]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _run(self, call: Call) -> None:
        try:
            async with self._lane(call):
                await self._ready()
                earlier = await self._journal.submit(
                    lambda: self._journal.record_call_started(
                        self._turn, call.id, call.tool.name, call.arguments
                    )
                )
                if earlier is None:
                    await self._execute(call)
                else:  # noted by an earlier attempt: it must not happen twice
                    known = (
                        Outcome(**earlier.result) if earlier.result else interrupted("it was begun before")
                    )
                    self._settle(call.id, known, "not_run")
        except asyncio.CancelledError:
            self._settle(call.id, not_executed(self._reason), "not_run")

    def _lane(self, call: Call) -> AbstractAsyncContextManager[Any]:
        lane = call.tool.lane(call.arguments)
        return nullcontext() if lane is None else self._lanes.setdefault(lane, asyncio.Lock())

    async def _execute(self, call: Call) -> None:
        self._emit(events.custom("tool.started", {"call": call.id}))
        began = time.monotonic()
        run = _Run(call, self._emit, live=self._live)
        try:
            result = await run.result(self._context(call.id))
            outcome = Outcome(_text(result.content), is_error=result.is_error)
        except asyncio.CancelledError:
            result = ToolResult("", "interrupted")
            outcome = interrupted(self._reason, run.partial)
        except Exception as error:  # a tool's fault is the model's to know, and not the turn's end
            result = ToolResult("", "error")
            outcome = Outcome(_text(f"The tool failed: {type(error).__name__}: {error}"), is_error=True)
        elapsed = round((time.monotonic() - began) * 1000)
        self._settle(call.id, outcome, result.status, exit_code=result.exit_code, elapsed_ms=elapsed)
        self._note(lambda: self._journal.record_call_result(self._turn, call.id, asdict(outcome)))
        if directory := result.directory:
            self._note(lambda: self._journal.update_session(self._turn.session, directory=directory))

    def _settle(self, call: str, outcome: Outcome, status: str, **more: Any) -> None:
        """The one place where a call gets its outcome."""
        if call in self.outcomes:
            return
        self.outcomes[call] = outcome
        finished = {"call": call, "status": status, "exit_code": None, "elapsed_ms": 0, **more}
        self._emit(events.custom("tool.finished", finished))
        self._emit(events.tool_call_result(call, outcome.content))


class _Run:
    """One execution of a tool, from its outputs to its result."""

    def __init__(self, call: Call, emit: Callable[..., None], *, live: bool) -> None:
        self._call = call
        self._emit = emit
        self._live = Live(time.monotonic()) if live else None
        self.partial = ""

    async def result(self, context: ToolContext) -> ToolResult:
        result = None
        async for item in self._call.tool.run(self._call.arguments, context):
            match item:
                case ToolOutput(text):
                    text = _text(text)
                    self.partial = (self.partial + text)[-PARTIAL:]
                    self._show(text)
                case ToolProgress():
                    self._emit(events.custom("tool.progress", {"call": self._call.id, **asdict(item)}))
                case ToolResult():
                    result = item
        if result is None:
            raise RuntimeError("it ended without a result")
        if self._live and (note := self._live.skipped()):
            self._tell(note)
        return result

    def _show(self, text: str) -> None:
        if self._live and (shown := self._live.show(text, time.monotonic())):
            self._tell(shown)

    def _tell(self, text: str) -> None:
        self._emit(events.custom("tool.output", {"call": self._call.id, "text": text}))
