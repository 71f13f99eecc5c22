"""One reply of the model while it arrives: told, saved, and its calls started, without ever waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import structlog

from ..calls.call import Call
from ..calls.gate import Gate
from ..events import Fault
from ..model import history
from ..model.assembler import Assembler, Ended, Piece, Started, Stopped
from .narration import Narration

if TYPE_CHECKING:
    from ..calls.dispatch import Dispatch
    from ..calls.in_text import CallsInText
    from ..calls.validation import Validation
    from ..events import Block, Message
    from ..model.assembler import Action
    from .recorder import Recorder

CUT_BY_LENGTH = {"max_tokens", "model_context_window_exceeded"}

GOES_ON = {"tool_use", "pause_turn", "compaction"}
"""Stop reasons after which the API's own tools may still answer; after others they never do."""

log = structlog.get_logger(__name__)


class Reply:
    """From the stream's events to a message of the history at `position`."""

    def __init__(
        self,
        name: str,
        position: int,
        recorder: Recorder,
        dispatch: Dispatch,
        validation: Validation,
        known: set[str],
        *,
        thinking: bool,
        in_text: CallsInText | None = None,
    ) -> None:
        """Connects a reply with its turn.

        Args:
            name: a part of its events' ids.
            position: where it stands in the history.
            recorder: what writes it down.
            dispatch: what runs its calls.
            validation: what checks them.
            known: the ids of earlier calls; a second call of one id would spoil the history for good.
            thinking: whether reasoning is shown.
            in_text: what finds its calls, if the model writes them into its text.
        """
        self.position = position
        self.stop_reason: str | None = None
        self._recorder = recorder
        self._dispatch = dispatch
        self._validation = validation
        self._known = known
        self._called: list[str] = []
        self._assembler = Assembler()
        self._narration = Narration(name, thinking=thinking)
        self._in_text = in_text
        self._gate = Gate(dispatch.toggles)
        self._ran = False

    @property
    def done(self) -> bool:
        """Whether the model has said everything."""
        return self._assembler.done

    def over(self) -> bool:
        """The stream is over: whether the model has said everything, and only the stream's end is missing.

        Then calls that waited for the reply's end start.
        """
        said = self.stop_reason is not None and not self._assembler.open
        if said:
            self._start(self._gate.ended())
        return said

    def take(self, event: dict[str, Any]) -> None:
        """Takes the next event of the stream.

        Raises:
            Fault: see `Assembler.feed`.
        """
        for action in self._assembler.feed(event):
            if self._in_text is None:
                self._act(action)
            else:
                for told in self._in_text.take(action):
                    self._act(told)
        if self._assembler.done:
            self._start(self._gate.ended())

    @property
    def begun(self) -> bool:
        """Whether any part of it came; before that its request can be sent again."""
        return bool(self._assembler.blocks)

    @property
    def usage(self) -> dict[str, Any]:
        """The API's counters as far as they came; empty when none came."""
        usage = self._assembler.message.get("usage")
        return usage if isinstance(usage, dict) else {}

    def close(self, cut: str = "") -> Message | None:
        """Saves and returns the reply as it goes into the history; None when there is nothing to keep.

        Calls that were not started get their outcome here, also those that the history does not keep. A
        refused reply is kept only if its calls ran.

        Args:
            cut: why the reply broke off (a stop or a fault), as half a sentence; empty when it did not.
        """
        for action in self._in_text.cut() if self._in_text else ():
            self._act(action)
        self._recorder.emit(*self._narration.cut())
        unanswered = bool(cut) or self._assembler.message.get("stop_reason") not in GOES_ON
        message = self._message(cut=bool(cut), unanswered=unanswered)
        if self.stop_reason == "refusal" and not self._ran:
            message = None
        for call in self._called:
            self._dispatch.refuse(call, history.not_executed(cut or self._why_not()))
        self._recorder.put(self.position, message)
        return message

    def _act(self, action: Action) -> None:
        emit = self._recorder.emit
        match action:
            case Piece(index, _, text):
                emit(*self._narration.piece(index, text))
            case Started(index, block):
                self._recognise(block)
                emit(*self._narration.started(index, block))
                self._start(self._gate.started(block))
            case Ended(index, block, fault):
                emit(*self._narration.ended(index))
                self._recorder.put(self.position, self._message(cut=True))
                if block["type"] == "tool_use":
                    self._seal(block, fault)
            case Stopped(reason):
                self.stop_reason = reason
                self._start(self._gate.stopped(reason))

    def _recognise(self, block: Block) -> None:
        if block["type"] != "tool_use":
            return
        if block["id"] in self._known:
            raise Fault("protocol_error", f"the model used the call id {block['id']} twice", mid_stream=True)
        self._known.add(block["id"])
        self._dispatch.forget(block["id"])  # of a reply that was cut, and that the history does not have
        self._called.append(block["id"])

    def _seal(self, block: Block, fault: str | None) -> None:
        call = self._validation.check(block, self._dispatch.context, fault)
        if isinstance(call, Call):
            released = self._gate.sealed(call)
            log.debug("call.sealed", call=call.id, tool=call.tool.name, held=call not in released)
            self._start(released)
        else:
            self._dispatch.refuse(block["id"], history.Outcome(call, is_error=True))

    def _start(self, calls: list[Call]) -> None:
        for call in calls:
            self._ran = True
            self._dispatch.start(call)

    def _message(self, *, cut: bool, unanswered: bool = False) -> Message | None:
        self._assembler.settle()
        written = self._in_text.calls if self._in_text else ()
        return history.assistant(self._blocks(cut=cut), cut=unanswered, written=written)

    def _blocks(self, *, cut: bool) -> list[Block]:
        """What is worth keeping, in order: what ended, texts in the making, and calls that the model cut."""
        blocks = []
        for index, block in self._assembler.blocks.items():
            if index not in self._assembler.open or block["type"] == "text":
                blocks.append(block)
            elif block["type"] == "tool_use" and not cut:
                blocks.append({**block, "input": {}})
        return blocks

    def _why_not(self) -> str:
        if self.stop_reason in CUT_BY_LENGTH:
            return f"the reply was cut off by {self.stop_reason} before the call was complete"
        return f"the reply ended with {self.stop_reason} before the call was confirmed"
