"""What a script says: replies, their timing and their faults."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from .errors import ApiError


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a stream: after so many events or so many bytes."""

    count: int
    unit: Literal["events", "bytes"] = "events"


@dataclass(frozen=True, slots=True)
class Hold:
    """The stream stands still at a point: until a gate opens, or for some seconds."""

    after: Point
    gate: str | None = None
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model, and how it comes.

    Exactly one of `content`, `events`, `sse` is the body; none when `error` stands in its place.

    Args:
        content: blocks as in the API; a `tool_use` may have `input_json` (any text) for `input`.
        events: the stream's events as they are.
        sse: a recorded stream, replayed byte for byte.
        chunk: characters per delta, cycled; empty means whole words.
        chunk_bytes: bytes per write, cycled; empty means one event per write.
        delay: seconds before each delta (each write after the first with `chunk_bytes`).
        first_delay: seconds before the first byte.
        error: instead of a reply, or with `error_after` as an event within it.
    """

    content: list[dict[str, Any]] | None = None
    events: list[dict[str, Any]] | None = None
    sse: bytes | None = None
    stop_reason: str | None = None
    usage: dict[str, Any] | None = None
    model: str | None = None
    chunk: tuple[int, ...] = ()
    chunk_bytes: tuple[int, ...] = ()
    delay: float = 0.0
    first_delay: float = 0.0
    pings: int = 1
    error: ApiError | None = None
    error_after: Point | None = None
    disconnect_after: Point | None = None
    holds: tuple[Hold, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """Replies in their order, and what answers when they are used up."""

    replies: tuple[Reply, ...]
    after: str = "assistant"
