"""Scripts from their JSON form.

    {"replies": [REPLY, ...], "after": "assistant" | "error" | "repeat"}

A reply has one of

    "content": [BLOCK, ...]      text, thinking, tool_use {name, input | input_json}, any other as it is
    "events": [EVENT, ...]       the stream's events as they are; left out, the end is missing
    "sse": TEXT                  a recorded stream, byte for byte
    "error": {"status", "type", "message", "headers"}

and may have `stop_reason`, `usage` and `model` (with content), and

    "chunk": 3 | [1, 5]          characters per delta; otherwise whole words
    "bytes": 7 | [1, 400]        bytes per write; otherwise one event
    "delay", "first_delay"       seconds before each delta, before the first byte
    "pings": 1                   how many
    "error_after": POINT         then an `error` event (of "error", else overloaded) ends the stream
    "disconnect_after": POINT    then the connection is cut
    "stall_after": POINT         there the stream stands, "hold" seconds or until "gate" is opened
    "holds": [{"after": POINT, "seconds" | "gate"}]   the same, several times

A POINT is a number of events, or {"bytes": n}. Thinking without a signature gets a genuine one;
with `"signature": ""` it is as a cut reply leaves it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from .errors import STATUS_OF_TYPE, TYPE_OF_STATUS, ApiError
from .fields import NUMBER, Fields, ScriptError, checked
from .scripts import Hold, Point, Reply, Script

if TYPE_CHECKING:
    from collections.abc import Callable

_AFTER = ("assistant", "error", "repeat")
_BODIES = ("content", "events", "sse")


def parse_script(document: Any) -> Script:
    """A script from its JSON form.

    Raises:
        ScriptError: with the path of the first fault.
    """
    fields = Fields(document)
    replies = fields.take("replies", list, [])
    after = fields.take("after", str, _AFTER[0])
    fields.done()
    if after not in _AFTER:
        raise ScriptError("after", f"is {after!r}, but must be one of {', '.join(_AFTER)}")
    if after == "repeat" and not replies:
        raise ScriptError("replies", "is empty, so there is nothing to repeat")
    return Script(tuple(_reply(Fields(one, f"replies[{n}]")) for n, one in enumerate(replies)), after)


def _reply(fields: Fields) -> Reply:
    given = [name for name in (*_BODIES, "error") if name in fields]
    error_after = _point(fields, "error_after")
    if error_after:
        given = [name for name in given if name != "error"]
    if len(given) != 1:
        raise ScriptError(fields.path, f"must have one of content, events, sse, error; it has {len(given)}")
    sse = fields.take("sse", str)
    error = _error(fields)
    if error_after and not error:
        error = ApiError(529, "overloaded_error", "Overloaded")
    reply = Reply(
        content=_each(fields, "content", _block),
        events=_each(fields, "events", _event),
        sse=None if sse is None else sse.encode(),
        stop_reason=fields.take("stop_reason", str),
        usage=fields.take("usage", dict),
        model=fields.take("model", str),
        chunk=_sizes(fields, "chunk"),
        chunk_bytes=_sizes(fields, "bytes"),
        delay=fields.amount("delay", NUMBER),
        first_delay=fields.amount("first_delay", NUMBER),
        pings=fields.amount("pings", int, 1),
        error=error,
        error_after=error_after,
        disconnect_after=_point(fields, "disconnect_after"),
        holds=_holds(fields),
    )
    fields.done()
    return reply


def _each(fields: Fields, name: str, read: Callable[[Fields], dict[str, Any]]) -> list[dict[str, Any]] | None:
    values = fields.take(name, list)
    if values is None:
        return None
    return [read(Fields(one, f"{fields.at(name)}[{n}]")) for n, one in enumerate(values)]


def _block(fields: Fields) -> dict[str, Any]:
    kind = fields.require("type", str)
    block: dict[str, Any] = {"type": kind}
    if kind == "text":
        block["text"] = fields.require("text", str)
    elif kind == "thinking":
        block["thinking"] = fields.take("thinking", str, "")
        if "signature" in fields:
            block["signature"] = fields.take("signature", str, "")
    elif kind == "tool_use":
        block["name"] = fields.require("name", str)
        if "id" in fields:
            block["id"] = fields.require("id", str)
        if "input_json" in fields:
            block["input_json"] = fields.require("input_json", str)
        else:
            block["input"] = fields.take("input", dict, {})
    return block | fields.rest()


def _event(fields: Fields) -> dict[str, Any]:
    return {"type": fields.require("type", str)} | fields.rest()


def _sizes(fields: Fields, name: str) -> tuple[int, ...]:
    value = fields.raw(name)
    if value is None:
        return ()
    sizes = value if isinstance(value, list) else [value]
    for size in sizes:
        if checked(size, int, fields.at(name)) < 1:
            raise ScriptError(fields.at(name), f"has {size}, but a size is at least 1")
    return tuple(sizes)


def _point(fields: Fields, name: str) -> Point | None:
    value = fields.raw(name)
    if value is None:
        return None
    if not isinstance(value, dict):
        return Point(_count(value, fields.at(name)))
    inner = Fields(value, fields.at(name))
    unit: Literal["events", "bytes"] = "bytes" if "bytes" in inner else "events"
    point = Point(_count(inner.require(unit, int), inner.at(unit)), unit)
    inner.done()
    return point


def _count(value: Any, path: str) -> int:
    count: int = checked(value, int, path)
    if count < 0:
        raise ScriptError(path, f"is {count}, but must not be negative")
    return count


def _holds(fields: Fields) -> tuple[Hold, ...]:
    """`stall_after` with `hold` or `gate` is one hold; `holds` is the list for several."""
    listed = fields.take("holds", list, [])
    holds = [_listed_hold(Fields(one, f"{fields.at('holds')}[{n}]")) for n, one in enumerate(listed)]
    if any(name in fields for name in ("stall_after", "hold", "gate")):
        holds.append(_hold(fields, "stall_after", "hold"))
    return tuple(holds)


def _listed_hold(fields: Fields) -> Hold:
    hold = _hold(fields, "after", "seconds")
    fields.done()
    return hold


def _hold(fields: Fields, after: str, seconds: str) -> Hold:
    hold = Hold(
        after=_point(fields, after) or Point(0),
        gate=fields.take("gate", str),
        seconds=fields.amount(seconds, NUMBER),
    )
    if bool(hold.gate) == bool(hold.seconds):
        raise ScriptError(fields.path, f"holds, so it must say until when: either gate or {seconds}")
    return hold


def _error(fields: Fields) -> ApiError | None:
    value = fields.take("error", dict)
    if value is None:
        return None
    inner = Fields(value, fields.at("error"))
    kind = inner.take("type", str)
    status = inner.take("status", int, STATUS_OF_TYPE.get(kind, 500))
    if not 400 <= status <= 599:
        raise ScriptError(inner.at("status"), f"is {status}, but an error's status is 400 to 599")
    headers = inner.take("headers", dict, {})
    error = ApiError(
        status=status,
        type=kind or TYPE_OF_STATUS.get(status, "api_error"),
        message=inner.take("message", str, "Scripted error"),
        headers={name: str(value) for name, value in headers.items()},
    )
    inner.done()
    return error
