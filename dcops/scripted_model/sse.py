"""Server-sent events as the API frames them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable


def frame(event: dict[str, Any]) -> bytes:
    """One event on the wire; its `type` is also the event's name."""
    return b"event: %s\ndata: %s\n\n" % (str(event["type"]).encode(), orjson.dumps(event))


def split(wire: bytes) -> list[bytes]:
    """A recorded stream cut after each event; joined again it is the same to the byte."""
    frames = [part + b"\n\n" for part in wire.split(b"\n\n")]
    frames[-1] = frames[-1][:-2]
    return [part for part in frames if part]


def parse(frames: Iterable[bytes]) -> list[dict[str, Any]]:
    """The events that frames carry; a frame whose data is no JSON object is left out."""
    return [event for event in map(_data, frames) if event is not None]


def _data(one: bytes) -> dict[str, Any] | None:
    lines = [line.removeprefix(b"data:") for line in one.splitlines() if line.startswith(b"data:")]
    try:
        event = orjson.loads(b"\n".join(lines))
    except orjson.JSONDecodeError:
        return None
    return event if isinstance(event, dict) else None
