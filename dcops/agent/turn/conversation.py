"""What a turn consists of: replies of the model and the results of its calls, until it is done.

The stream is read on while tools run; wherever it breaks off, the messages can be made valid, and every call
has exactly one result.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import structlog

from .. import events
from ..calls.dispatch import Dispatch
from ..events import Fault
from ..journal.records import Tokens
from ..model import history
from ..tools.tool import ToolContext
from .asking import Asking
from .attempts import Attempts
from .limits import Limits
from .reply import CUT_BY_LENGTH, Reply
from .transcript import Transcript

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Message, Toggles
    from ..journal.records import Turn
    from .parts import Parts
    from .recorder import Recorder
    from .wishes import Wishes

CUT_REPLIES = 2
"""How often in a row a turn goes on after a reply whose calls max_tokens cut, each time with more room."""

log = structlog.get_logger(__name__)


class Conversation:
    """The replies and calls of one turn, with its toggles pinned.

    Attributes:
        limits: what the turn may use up.
    """

    def __init__(
        self,
        turn: Turn,
        parts: Parts,
        toggles: Toggles,
        recorder: Recorder,
        wishes: Wishes,
        look: Callable[[], None],
    ) -> None:
        """Says nothing yet.

        Args:
            turn: the turn.
            parts: what it shares with others.
            toggles: all values.
            recorder: what writes it down.
            wishes: what the user wishes of it.
            look: looks for what the user asked for in the last moment, and obeys.
        """
        self._turn = turn
        self._parts = parts
        self._toggles = toggles
        self._recorder = recorder
        self._look = look
        self.limits = Limits(toggles, time.monotonic())
        own = parts.journal.session(turn.session).workspace
        self._workspace = parts.workspace / (own or "")
        self._wishes = wishes
        self._asking = Asking(parts, toggles, self._workspace)
        self._transcript = Transcript(turn.session, parts.journal, recorder)
        self._dispatch = Dispatch(
            turn,
            parts.journal,
            recorder.emit,
            recorder.note,
            self._context,
            paused=lambda: wishes.paused,
            ready=self._ready,
            toggles=toggles,
        )
        self._replies = 0
        self._lengthened = 0
        self._attempts = Attempts(whole=not toggles["use_unified_streaming"])
        self._reading: Reply | None = None

    async def run(self) -> str:
        """Goes on from the history until the model is done; returns the last stop reason.

        Raises:
            Fault: it cannot go on; `break_off` makes the history valid.
            LimitReached: it must not go on; the same.
        """
        await self._transcript.load()
        await self._asking.settle(self._transcript.messages)
        self._heed()
        while True:
            reply = await self._reply()
            message = self._close(reply)
            steered = await self._answer(message)
            if not self._goes_on(reply.stop_reason, message, steered=steered) and not self._heed():
                return str(reply.stop_reason)

    def _goes_on(self, reason: str | None, message: Message | None, *, steered: bool) -> bool:
        """Whether the model has more to say, although nobody asks it anything new."""
        answered = bool(history.calls(message)) and (steered or self._toggles["use_response_chunking"])
        if reason not in CUT_BY_LENGTH:
            self._lengthened = 0
        match reason:
            case "tool_use":
                return answered
            case "pause_turn" | "compaction":
                return history.resumable(message)
            case "max_tokens" | "model_context_window_exceeded":
                self._recorder.emit(events.custom("reply.cut", {"reason": f"it ended with {reason}"}))
                self._lengthened += 1
                unsaid = message is None and reason == "max_tokens"  # it was all spent on thinking
                return (answered or (unsaid and self._asking.can_grow)) and self._lengthened <= CUT_REPLIES
        return False

    async def break_off(self, reason: str) -> None:
        """Ends what runs and makes the history valid; `reason` is half a sentence."""
        await self._dispatch.cancel(reason)
        if self._reading is not None:
            self._close(self._reading, reason)
        last = self._transcript.reply
        for block in history.calls(last):
            self._dispatch.refuse(block["id"], history.not_executed(reason))
        closing = history.closing(last, self._dispatch.outcomes, (), reason)
        self._transcript.say({**closing, "content": [*closing["content"], *self._wishes.take()]})

    def let_go(self) -> None:
        """Forgets who knows it; for a turn that is over, see `TurnRun.run`."""
        del self._dispatch, self._look

    def _heed(self) -> bool:
        """Whether the user added something that no request carries yet; now the next one does."""
        self._look()
        added = self._wishes.take()
        if added:
            self._transcript.say(history.user(added))
        return bool(added)

    async def _ready(self) -> None:
        """Returns when the turn is not paused and all that was said is on disk."""
        await self._recorder.flush()
        await self._wishes.unpaused()

    # A reply, and the answer to it

    async def _reply(self) -> Reply:
        """One reply to its end, in as many attempts as are worth it."""
        while True:
            await self._ready()
            if self._transcript.reply is None:  # a paused reply is sent back with nothing behind it
                self._heed()
            self.limits.check(time.monotonic(), self._parts.journal.tokens_today().total)
            self.limits.requests += 1
            reply = self._reading = self._next()
            try:
                await self._read(reply)
            except Fault as fault:
                if _is_cancelled():
                    raise asyncio.CancelledError from fault
                if not reply.over():
                    if not await self._mend(reply, fault):
                        raise  # not there: a frame of the traceback would hold the fault, in a circle
                    continue
            self._attempts.succeeded()
            return reply

    def _next(self) -> Reply:
        self._replies += 1
        name = f"{self._turn.id}.{self._replies}"
        return Reply(
            name,
            self._transcript.next,
            self._recorder,
            self._dispatch,
            self._parts.validation,
            self._transcript.calls(),
            thinking=self._toggles["use_streaming_thinking"],
            in_text=self._asking.calls_in_text(name),
        )

    async def _read(self, reply: Reply) -> None:
        """Reads one reply to its end; its calls start on the way, and nothing here waits for them."""
        messages = self._transcript.messages
        ids = {"session": self._turn.session, "turn": self._turn.id, "reply": self._replies}
        log.debug("request", **ids, messages=len(messages))
        try:
            await self._asking.read(reply, messages, whole=self._attempts.whole, room=self._lengthened)
        finally:
            self._count(reply.usage)

    def _count(self, usage: dict[str, Any]) -> None:
        """Tells and counts what a reply has cost, once, whatever became of it."""
        if not usage:
            return
        tokens, journal = Tokens.of(usage), self._parts.journal
        self.limits.output_tokens += tokens.output
        self._recorder.emit(events.custom("usage", usage))
        self._recorder.note(lambda: journal.count_tokens(tokens))

    async def _mend(self, reply: Reply, fault: Fault) -> bool:
        """Gets ready to ask the model again; false if that is of no use."""
        await self._dispatch.settled()  # what was proven runs to its end: only a stop breaks calls off
        again = self._attempts.after(fault, begun=reply.begun)
        if again is None:
            return False
        log.info("retry", session=self._turn.session, turn=self._turn.id, code=fault.code)
        if reply.begun:
            self._go_on_behind(reply, str(fault))
        self._reading = None  # one that never began leaves its place to what the user adds
        told = {"attempt": again.attempt, "reason": again.reason, "seconds": round(again.seconds, 3)}
        self._recorder.emit(events.custom("retry", told))
        await asyncio.sleep(again.seconds)
        return True

    def _go_on_behind(self, reply: Reply, reason: str) -> None:
        """Keeps what came of a reply, since it was shown and its calls have run, and asks for the rest."""
        self._recorder.emit(events.custom("reply.cut", {"reason": reason}))
        message = self._close(reply, f"the reply was cut off by a fault ({reason})")
        if message is not None:
            rest = [history.cut_off(reason), *self._wishes.take()]
            self._transcript.say(history.results(message, self._dispatch.outcomes, rest))

    async def _answer(self, message: Message | None) -> bool:
        """Answers a reply's calls once they have ended; whether something that was steered went along."""
        steered = False
        if message and history.calls(message):
            outcomes = await self._dispatch.settled()
            added = self._wishes.take()
            steered = bool(added)
            self._transcript.say(history.results(message, outcomes, added))
        return steered

    def _close(self, reply: Reply, cut: str = "") -> Message | None:
        self._reading = None
        message = reply.close(cut)
        if message is not None:
            self._transcript.keep(reply.position, message)
        return message

    def _context(self, call: str) -> ToolContext:
        journal, session = self._parts.journal, self._turn.session
        self._workspace.mkdir(exist_ok=True)
        return ToolContext(
            session,
            self._workspace,
            journal.output_path(session, call),
            journal.session(session).directory,
        )


def _is_cancelled() -> bool:
    """Whether the turn was broken off, also where a library has made a fault of that."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
