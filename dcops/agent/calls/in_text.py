"""Calls that stand in the text of a reply, made into blocks of their own.

It stands between the assembler and what handles its actions: from there on, a call in XML is like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..model.assembler import Ended, Piece, Started, Stopped
from . import xml
from .prefix import SENTENCE, Prefix

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ..events import Block
    from ..model.assembler import Action

WHOLE = {"end_turn", "stop_sequence", "tool_use"}
"""The reasons for which a model stops that has written its calls to their end."""


class CallsInText:
    """One reply.

    Attributes:
        calls: the blocks of the calls so far, in their order.
    """

    def __init__(self, name: str, schemas: Mapping[str, Mapping[str, Any]], *, announced: bool) -> None:
        """Expects the reply's first action.

        Args:
            name: what the ids of its calls begin with.
            schemas: the tools' input schemas by name.
            announced: whether each call must be announced by the sentence before it.
        """
        self.calls: list[Block] = []
        self._name = name
        self._schemas = schemas
        self._prefix = Prefix(schemas) if announced else None
        self._fault: str | None = None
        self._parser: xml.Parser | None = None
        self._index: int | None = None
        self._text: Block = {}
        self._shown: dict[int, int] = {}
        self._blocks = 0
        self._speaking: int | None = None

    def take(self, action: Action) -> list[Action]:
        """The action as it is told on: texts and calls apart, blocks numbered anew."""
        match action:
            case Started(index, block) if block["type"] == "text":
                ended = self._end(whole=True)
                self._parser, self._index, self._text = xml.Parser(self._schemas), index, block
                return [*ended, *self._translate(self._parser.feed(block.get("text") or ""))]
            case Piece(index, _, text) if self._parser and index == self._index:
                return self._translate(self._parser.feed(text))
            case Ended(index, block) if index == self._index:
                self._text = block  # whether its calls are whole, the stop reason tells
                return []
            case Stopped(reason, usage):
                ended = self._end(whole=reason in WHOLE, stopped=reason == "stop_sequence")
                called = bool(self.calls) and reason in WHOLE
                return [*ended, Stopped("tool_use" if called else reason, usage)]
            case Started(index, block):
                ended = self._end(whole=True)
                self._shown[index] = self._next()
                return [*ended, Started(self._shown[index], block)]
            case Piece(index, kind, text):
                return [Piece(self._shown.get(index, index), kind, text)]
            case Ended(index, block, fault):
                return [Ended(self._shown.get(index, index), block, fault)]

    def cut(self) -> list[Action]:
        """The reply breaks off: tells the text that was held back; a call that is open stays so."""
        return self._end(whole=False)

    def _end(self, *, whole: bool, stopped: bool = False) -> list[Action]:
        """Ends the current text; `stopped` when the model did so at the closing tag of its calls."""
        parser, self._parser, self._index = self._parser, None, None
        if parser is None:
            return []
        if stopped:  # the API leaves out what it stopped at, and the history has it
            self._text["text"] = f"{self._text.get('text') or ''}{xml.CLOSE}"
        told = self._translate(parser.finish(stopped=stopped) if whole else parser.cut())
        return [*told, *self._be_silent()]

    def _translate(self, actions: Iterable[xml.Action]) -> list[Action]:
        return [told for action in actions for told in self._told(action)]

    def _told(self, action: xml.Action) -> list[Action]:
        match action:
            case xml.Words(text):
                if self._prefix:
                    self._prefix.read(text)
                return [*self._speak(), Piece(self._blocks, "text", text)]  # no other block began since
            case xml.CallStarted(name):
                self._fault = self._unannounced(name)
                block: Block = {"type": "tool_use", "id": f"{self._name}.{len(self.calls) + 1}", "name": name}
                self.calls.append({**block, "input": {}})
                return [*self._be_silent(), Started(self._next(), self.calls[-1])]
            case xml.Arguments(text):
                return [Piece(self._blocks, "input", text)]
            case xml.CallEnded(given, fault):
                self.calls[-1]["input"] = given
                return [Ended(self._blocks, self.calls[-1], fault or self._fault)]
            case xml.CallsEnded():
                return [Started(self._next(), {"type": "function_calls_end"})]  # it confirms the last call

    def _unannounced(self, tool: str) -> str | None:
        if self._prefix is None or self._prefix.take(tool) or tool not in self._schemas:
            return None
        sentence = SENTENCE.format(tool=tool)
        return f"write the sentence {sentence!r} before the call, and then the whole call again"

    def _speak(self) -> list[Action]:
        if self._speaking is not None:
            return []
        self._speaking = self._next()
        return [Started(self._speaking, {"type": "text", "text": ""})]

    def _be_silent(self) -> list[Action]:
        spoken, self._speaking = self._speaking, None
        return [] if spoken is None else [Ended(spoken, {"type": "text", "text": ""})]

    def _next(self) -> int:
        self._blocks += 1
        return self._blocks
