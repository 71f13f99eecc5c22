"""Calls that the model writes as XML in its text: an incremental parser, fed with pieces cut anywhere.

It never guesses. A fault within one call spoils that call; a fault in how the tags are nested spoils all that
follows, since from there on what looks like a call may be the text of another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from ..model.assembler import strict_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

OPEN = "<function_calls>"
CLOSE = "</function_calls>"

_NAMES = ("function_calls", "invoke", "parameter")
_LONGEST_TAG = 300
_AS_TEXT = f"as mere text it is &lt;{CLOSE[1:]}"
_INVOKE = re.compile(r'<invoke\s+name\s*=\s*"([^"<>&]+)"\s*>')
_PARAMETER = re.compile(r'<parameter\s+name\s*=\s*"([^"<>&]+)"\s*>')

_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
_ENTITY = r"&(?:lt|gt|amp|quot|apos|#[0-9]{1,7}|#x[0-9a-fA-F]{1,6});"
_CDATA = "<![CDATA["
_TOKEN = re.compile(rf"</?(?:{'|'.join(_NAMES)})(?=[\s/>])|<!\[CDATA\[|{_ENTITY}")
_TAGS = (_CDATA, *(f"<{slash}{name}" for name in _NAMES for slash in ("", "/")))
_BEGUN_ENTITY = re.compile(r"&(?:[a-z]{0,4}|#[0-9]{0,7}|#x[0-9a-fA-F]{0,6})")
_LONGEST_TOKEN = max(map(len, _TAGS))


@dataclass(frozen=True, slots=True)
class Words:
    """Ordinary text, unchanged."""

    text: str


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call of this name begins."""

    name: str


@dataclass(frozen=True, slots=True)
class Arguments:
    """More of the call's arguments; joined they are its input as JSON text, unless it has a fault."""

    text: str


@dataclass(frozen=True, slots=True)
class CallEnded:
    """The call is complete, or `fault` says what is wrong with it, as half a sentence."""

    input: dict[str, Any]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class CallsEnded:
    """The closing tag of all calls has come."""


Action = Words | CallStarted | Arguments | CallEnded | CallsEnded


class Parser:
    """One text of a reply. What is no call is told at once; only what may begin a tag is held back."""

    def __init__(self, schemas: Mapping[str, Mapping[str, Any]]) -> None:
        """Takes the tools' input schemas by name: they tell which parameters are text and which JSON."""
        self._schemas = schemas
        self._state: Callable[[], bool] = self._words
        self._held = ""
        self._at = 0
        self._told: list[Action] = []
        self._speaks = False
        self._call: _Call | None = None
        self._calls = 0

    def feed(self, text: str) -> list[Action]:
        """Takes the next piece of the text, and tells what it means."""
        self._held += text
        while self._state():
            pass
        self._held, self._at = self._held[self._at :], 0
        return self._tell()

    def finish(self, *, stopped: bool = False) -> list[Action]:
        """The model has said everything.

        Args:
            stopped: it stopped at the closing tag of its calls, which the API then leaves out.
        """
        if self._call:
            self._fail(self._call.unclosed(stopped=stopped))
        elif self._state == self._tags:
            self._end_calls("" if stopped else "is not closed and ")
        elif self._state == self._words:
            self._say(self._held)
            if stopped:
                self._refuse(
                    "function_calls", f"{CLOSE} came without {OPEN}; as mere text it is &lt;{CLOSE[1:]}"
                )
        self._held = ""
        return self._tell()

    def cut(self) -> list[Action]:
        """The text breaks off here; a call that is open, or about to be, stays so."""
        if self._state in (self._words, self._rest):
            self._say(self._held)
        elif self._state == self._tags and (self._held.strip() or not self._calls):
            self._begin("function_calls")
        self._held = ""
        return self._tell()

    # What stands where; each takes a step and returns whether there may be another one

    def _words(self) -> bool:
        text, opened = self._before(OPEN)
        self._say(text)
        if opened:
            self._state, self._calls, self._speaks = self._tags, 0, False
        return opened

    def _tags(self) -> bool:
        """Between `OPEN` and `CLOSE`, outside of a call."""
        text = self._before_tag()
        text = text if self._speaks else text.lstrip()
        self._speaks = self._speaks or bool(text)
        self._say(text)
        tag = self._tag()
        if tag == CLOSE:
            self._state = self._words
            self._end_calls()
        elif invoked := _INVOKE.fullmatch(tag):
            self._begin(invoked[1])
            self._state = self._parameters
        elif tag:
            name = re.sub(r"\W.*", "", tag[1:], flags=re.DOTALL) or "function_calls"
            self._refuse(name, f'{tag[:80]} has no place here, only <invoke name="TOOL"> and {CLOSE}')
        return bool(tag)

    def _parameters(self) -> bool:
        """In a call, outside of a parameter."""
        assert self._call
        if self._before_tag().strip():
            self._call.spoil("there is text outside of a <parameter>")
        tag = self._tag()
        if tag == "</invoke>":
            self._end(self._call.fault)
            self._state, self._speaks = self._tags, False
        elif parameter := _PARAMETER.fullmatch(tag):
            self._argue(self._call.open(parameter[1]))
            self._state = self._value
        elif tag:
            self._fail(f'{tag[:80]} has no place here, only <parameter name="NAME"> and </invoke>')
        return bool(tag)

    def _value(self) -> bool:
        assert self._call
        token = _TOKEN.search(self._held, self._at)
        end = token.start() if token else self._certain()
        self._argue(self._call.add(self._held[self._at : end]))
        self._at = token.end() if token else end
        if token is None:
            return False
        if token[0] == _CDATA:
            self._state = self._literal
        elif token[0] == "</parameter" and self._held.startswith(">", self._at):
            self._at += 1
            self._argue(self._call.close())
            self._state = self._parameters
        elif token[0].startswith("&"):
            self._argue(self._call.add(_character(token[0])))
        else:
            told = "close the parameter first, or write &lt; where a tag is meant as text"
            self._fail(f"{token[0]}> stands inside of the parameter {self._call.parameter!r}; {told}")
        return True

    def _literal(self) -> bool:
        assert self._call
        text, closed = self._before("]]>")
        self._argue(self._call.add(text))
        if closed:
            self._state = self._value
        return closed

    def _rest(self) -> bool:
        self._say(self._held[self._at :])
        self._at = len(self._held)
        return False

    # What comes next in the text

    def _before(self, mark: str) -> tuple[str, bool]:
        """What stands before `mark`, and whether it has come; holds back what may be its beginning."""
        start, found = self._at, self._held.find(mark, self._at)
        if found >= 0:
            self._at = found + len(mark)
            return self._held[start:found], True
        longest = min(len(mark) - 1, len(self._held) - start)
        begun = next((n for n in range(longest, 0, -1) if self._held.endswith(mark[:n])), 0)
        self._at = len(self._held) - begun
        return self._held[start : self._at], False

    def _before_tag(self) -> str:
        start, found = self._at, self._held.find("<", self._at)
        self._at = found if found >= 0 else len(self._held)
        return self._held[start : self._at]

    def _tag(self) -> str:
        """The tag that begins here; empty while its end has not come."""
        start, longest = self._at, self._at + _LONGEST_TAG
        end = self._held.find(">", start, longest) + 1
        if not end and len(self._held) >= longest:
            end = longest
        self._at = end or start
        return self._held[start:end]

    def _certain(self) -> int:
        """How far what is held is surely text: up to what may begin a tag or an entity."""
        last = max(self._held.rfind(mark, self._at) for mark in "<&")
        if last < 0 or len(self._held) - last > _LONGEST_TOKEN:
            return len(self._held)
        rest = self._held[last:]
        begun = any(tag.startswith(rest) for tag in _TAGS) or _BEGUN_ENTITY.fullmatch(rest)
        return last if begun else len(self._held)

    # What is told

    def _tell(self) -> list[Action]:
        told, self._told = self._told, []
        return told

    def _say(self, text: str) -> None:
        if text:
            self._told.append(Words(text))

    def _argue(self, text: str) -> None:
        if text:
            self._told.append(Arguments(text))

    def _begin(self, name: str) -> None:
        properties = self._schemas.get(name, {}).get("properties", {})
        self._call = _Call(properties)
        self._calls += 1
        self._told.append(CallStarted(name))

    def _end(self, fault: str | None) -> None:
        assert self._call
        if fault is None:
            self._argue("}" if self._call.input else "{}")
        self._told.append(CallEnded({} if fault else self._call.input, fault))
        self._call = None

    def _end_calls(self, begun: str = "", also: str = "") -> None:
        if begun:
            self._refuse("invoke", f"{begun[:80]} is not closed")
        elif not self._calls:
            self._refuse("function_calls", f"{OPEN} {also}has no <invoke>")
        else:
            self._told.append(CallsEnded())

    def _refuse(self, name: str, fault: str) -> None:
        """Makes a call of what is none, so that the model gets an answer."""
        self._begin(name)
        self._fail(fault)

    def _fail(self, fault: str) -> None:
        self._end(f"{fault}; nothing behind it was taken")
        self._state = self._rest


class _Call:
    """The input of a call as it grows, told as JSON text until there is a fault."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self._properties = properties
        self._pieces: list[str] = []
        self._is_text = True
        self.input: dict[str, Any] = {}
        self.fault: str | None = None
        self.parameter = ""

    def spoil(self, fault: str) -> None:
        self.fault = self.fault or fault

    def open(self, parameter: str) -> str:
        if parameter in self.input:
            self.spoil(f"the parameter {parameter!r} stands twice")
        self.parameter = parameter
        self._is_text = is_text(self._properties.get(parameter))
        self._pieces.clear()
        begun = f"{', ' if self.input else '{'}{_quoted(parameter)}: "
        return self._told(begun + '"' if self._is_text else begun)

    def add(self, text: str) -> str:
        self._pieces.append(text)
        return self._told(_quoted(text)[1:-1]) if self._is_text else ""

    def close(self) -> str:
        text, parameter, self.parameter = "".join(self._pieces), self.parameter, ""
        if self._is_text:
            self.input[parameter] = text
            return self._told('"')
        try:
            self.input[parameter] = strict_json(text)
        except ValueError as error:
            wanted = self._properties[parameter].get("type", "not text")
            self.spoil(f"the parameter {parameter!r} must be JSON, as it is {wanted} ({error})")
        return self._told(text)

    def unclosed(self, *, stopped: bool) -> str:
        where = f"the parameter {self.parameter!r} of the call" if self.parameter else "the call"
        if not stopped:
            return f"{where} is not closed"
        return f"the reply ended at {CLOSE} before {where} was closed; {_AS_TEXT}"

    def _told(self, text: str) -> str:
        return "" if self.fault else text


def is_text(schema: Any) -> bool:
    """Whether a parameter of this schema is written as it is; any other one is written as JSON."""
    if not isinstance(schema, dict):
        return True
    if kinds := schema.get("type"):
        return "string" in ([kinds] if isinstance(kinds, str) else kinds)
    if schema.keys() & {"anyOf", "oneOf", "allOf", "$ref"}:
        return False
    values = schema.get("enum", [schema[name] for name in ("const",) if name in schema])
    return all(isinstance(value, str) for value in values)


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def _character(entity: str) -> str:
    """What an entity stands for; itself, if that is no character."""
    name = entity[1:-1]
    if name in _ENTITIES:
        return _ENTITIES[name]
    number = int(name[1:]) if name[1] != "x" else int(f"0{name[1:]}", 0)
    is_one = 0 < number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF
    return chr(number) if is_one else entity
