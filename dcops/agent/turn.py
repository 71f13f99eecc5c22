"""The turn: from the user's input, through replies and calls, to a history that the API takes.

The stream is read on while tools run; whatever ends a turn, its messages are valid and every call has
exactly one result.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import structlog

from . import events, history, prompts, request
from .calls.dispatch import Dispatch
from .events import Fault
from .recorder import Recorder
from .reply import CUT_BY_LENGTH, Reply
from .tools.tool import ToolContext

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .calls.validation import Validation
    from .events import Block, Event, Message, Toggles
    from .journal.journal import Journal
    from .journal.records import Control, Turn
    from .tools.registry import Registry
    from .transport import Transport

CUT_REPLIES = 2
"""How often in a row a turn goes on after a reply whose calls max_tokens cut."""

STOPPED = "stopped by the user"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What all turns of an instance share; `seen` is told each event at once, for metrics."""

    journal: Journal
    transport: Transport
    registry: Registry
    validation: Validation
    workspace: Path
    seen: Callable[[Turn, Event], None] | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a turn ended: its state, why as half a sentence, and its last events."""

    state: str
    reason: str
    events: tuple[Event, ...]


class TurnRun:
    """One turn while it runs, with its toggles pinned."""

    def __init__(self, turn: Turn, parts: Parts, toggles: Toggles) -> None:
        """Begins at once; `run` must be awaited for the turn to end."""
        self.turn = turn
        self._parts = parts
        self._toggles = toggles
        self._recorder = Recorder(parts.journal, turn, parts.seen)
        self._dispatch = Dispatch(
            turn,
            parts.journal,
            self._recorder.emit,
            self._recorder.note,
            self._context,
            ready=self._ready,
            live=toggles["use_streaming_bash"],
        )
        self._unpaused = asyncio.Event()
        self._unpaused.set()
        self._steers: list[Block] = []
        self._messages: dict[int, Message] = {}
        self._replies = 0
        self._reading: Reply | None = None
        self._broken_off: Ending | None = None
        self._work = asyncio.create_task(self._converse())

    async def run(self) -> bool:
        """Runs the turn to its end; raises nothing. Whether it is closed in the journal."""
        try:
            while not await self._ended():
                self._work = asyncio.create_task(self._converse())
                if self._broken_off:
                    self._work.cancel()
        except Exception:  # only the journal can fail here, so nothing can be said in it
            log.exception("turn.lost", session=self.turn.session, turn=self.turn.id)
            return False
        return True

    async def _ended(self) -> bool:
        """Whether the turn is over once its work is; not if the user added something in the last moment."""
        obey = asyncio.create_task(self._obey())
        await asyncio.wait({self._work})
        obey.cancel()
        await asyncio.wait({obey})  # what it took from the journal has arrived here
        ending = self._ending(self._work)
        if ending.state == "done" and self._steers:
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

    # The conversation

    async def _converse(self) -> str:
        """Replies and calls until the model is done; returns the last stop reason."""
        journal = self._parts.journal
        self._messages = dict(await asyncio.to_thread(journal.numbered_messages, self.turn.session))
        self._heed()
        cut = 0
        while True:
            await self._ready()
            reply = await self._read()
            message = await self._answer(reply)
            called = bool(history.calls(message))
            cut = cut + 1 if called and reply.stop_reason in CUT_BY_LENGTH else 0
            if message and reply.stop_reason in {"tool_use", "pause_turn"}:
                continue
            if cut and cut <= CUT_REPLIES:
                continue
            if not self._heed():
                return str(reply.stop_reason)

    def _heed(self) -> bool:
        """Whether the user added something that no request carries yet; now the next one does."""
        for control in self._parts.journal.take_controls(self.turn):
            self._control(control)  # what came in the last moment counts, too
        if self._steers:
            self._say({"role": "user", "content": self._steered()})
            return True
        return False

    async def _read(self) -> Reply:
        """Reads one reply to its end; its calls start on the way, and nothing here waits for them."""
        self._replies += 1
        reply = self._reading = Reply(
            f"{self.turn.id}.{self._replies}",
            self._next(),
            self._recorder,
            self._dispatch,
            self._parts.validation,
            {call["id"] for message in self._messages.values() for call in history.calls(message)},
            thinking=self._toggles["use_streaming_thinking"],
        )
        try:
            await self._take(reply)
        except Fault:
            await self._dispatch.settled()  # what was proven runs to its end: only a stop breaks calls off
            raise
        return reply

    async def _take(self, reply: Reply) -> None:
        async with self._parts.transport.stream(self._request()) as stream:
            async for event in stream:
                reply.take(event)
                if reply.done:
                    return
        raise Fault("stream_ended", "the stream ended before the reply did", mid_stream=True)

    def _request(self) -> dict[str, object]:
        registry = self._parts.registry
        system = prompts.system(self._parts.workspace, registry.names)
        asked = request.build(list(self._messages.values()), self._toggles, system, registry.definitions())
        log.debug("request", session=self.turn.session, turn=self.turn.id, model=asked["model"])
        return asked

    async def _answer(self, reply: Reply) -> Message | None:
        """Closes the reply and, once its calls have ended, answers them; what was steered goes along."""
        message = self._close(reply)
        if history.calls(message):
            outcomes = await self._dispatch.settled()
            assert message is not None
            self._say(history.results(message, outcomes, self._steered()))
        return message

    def _close(self, reply: Reply, *, cut: bool = False) -> Message | None:
        self._reading = None
        message = reply.close(cut=cut)
        if message is not None:
            self._messages[reply.position] = message
        return message

    def _say(self, message: Message) -> None:
        position = self._next()
        self._messages[position] = message
        self._recorder.put(position, message)

    def _next(self) -> int:
        return max(self._messages, default=0) + 1

    def _steered(self) -> list[Block]:
        steers, self._steers = self._steers, []
        return steers

    async def _ready(self) -> None:
        """Returns when the turn is not paused and all that was said is on disk."""
        await self._recorder.flush()
        await self._unpaused.wait()

    def _context(self, call: str) -> ToolContext:
        journal, session = self._parts.journal, self.turn.session
        return ToolContext(
            session,
            self._parts.workspace,
            journal.output_path(session, call),
            journal.session(session).directory,
        )

    # Control

    async def _obey(self) -> None:
        try:
            async for control in self._parts.journal.watch_control(self.turn):
                self._control(control)
        except Exception:  # a turn that nobody can stop must not go on
            log.exception("turn.deaf", session=self.turn.session, turn=self.turn.id)
            self.interrupt("its journal cannot be read")

    def _control(self, control: Control) -> None:
        match control.kind:
            case "stop":
                self.stop()
            case "pause" if self._unpaused.is_set():
                self._unpaused.clear()
                self._recorder.emit(events.custom("paused", {"paused": True}))
            case "resume" if not self._unpaused.is_set():
                self._unpaused.set()
                self._recorder.emit(events.custom("paused", {"paused": False}))
            case "steer":
                self._steer(history.user(control.payload["input"])["content"])

    def _steer(self, blocks: list[Block]) -> None:
        """Keeps what the user adds until the next request, and shows it now."""
        name = f"{self.turn.id}.steer.{self._next()}.{len(self._steers)}"
        self._steers.extend(blocks)
        text = "\n".join(block["text"] for block in blocks if block["type"] == "text")
        if text:
            self._recorder.emit(
                events.text_start(name, "user"), events.text_content(name, text), events.text_end(name)
            )

    # The end

    def _ending(self, work: asyncio.Task[str]) -> Ending:
        if work.cancelled():
            assert self._broken_off is not None, "nobody else has the task"
            return self._broken_off
        match work.exception():
            case None:
                told = events.run_finished(self.turn.session, self.turn.id, stop_reason=work.result())
                return Ending("done", "", (told,))
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

    async def _end(self, ending: Ending) -> bool:
        """Makes the history valid, whatever happened, and closes the turn; false if it must go on."""
        if ending.state != "done":
            await self._dispatch.cancel(ending.reason)
            if self._reading is not None:
                self._close(self._reading, cut=True)
            last = self._messages[max(self._messages)] if self._messages else None
            last = last if last and last["role"] == "assistant" else None
            for block in history.calls(last):
                self._dispatch.refuse(block["id"], history.not_executed(ending.reason))
            self._say(history.closing(last, self._dispatch.outcomes, (), ending.reason))
        await self._recorder.flush()
        if not await self._parts.journal.submit(partial(self._finish, ending)):
            return False
        log.info("turn.finished", session=self.turn.session, turn=self.turn.id, state=ending.state)
        return True

    def _finish(self, ending: Ending) -> bool:
        # In one transaction, so that what the user adds is either answered or refused.
        if ending.state == "done" and self._parts.journal.is_steered(self.turn):
            return False
        self._parts.journal.finish_turn(self.turn, ending.state, ending.events)
        return True


def _interrupted(reason: str) -> Event:
    return events.custom("turn.interrupted", {"reason": reason})
