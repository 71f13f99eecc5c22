"""A reply as steps: what to send, when to wait, where to cut."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from . import sse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .scripts import Point, Reply


@dataclass(frozen=True, slots=True)
class Send:
    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Gate:
    name: str


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends here; without it a stream ends as HTTP says."""


Step = Send | Pause | Gate | Cut


def play(reply: Reply, frames: Sequence[bytes]) -> Iterator[Step]:
    """The steps of a streamed reply.

    Args:
        reply: the timing and the faults.
        frames: the reply's events as they go over the wire.
    """
    wire = b"".join(frames)
    marks = _marks(reply, frames)
    at = 0
    if reply.first_delay:
        yield Pause(reply.first_delay)
    for end, paced in _writes(reply, frames):
        if paced and reply.delay:
            yield Pause(reply.delay)
        while marks and marks[0][0] < end:
            offset, step = marks.pop(0)
            if offset > at:
                yield Send(wire[at:offset])
                at = offset
            yield step
            if _is_last(step):
                return
        yield Send(wire[at:end])
        at = end
    for _, step in marks:
        yield step
        if _is_last(step):
            return


def _is_last(step: Step) -> bool:
    """Whether a mark ends the stream: an error event or a cut does, a hold does not."""
    return isinstance(step, Send | Cut)


def _writes(reply: Reply, frames: Sequence[bytes]) -> Iterator[tuple[int, bool]]:
    """Where each write ends, and whether the reply's delay comes before it."""
    end = 0
    if not reply.chunk_bytes:
        for frame in frames:
            end += len(frame)
            yield end, frame.startswith(b"event: content_block_delta")
        return
    total = sum(map(len, frames))
    sizes = cycle(reply.chunk_bytes)
    while end < total:
        paced = end > 0
        end = min(end + next(sizes), total)
        yield end, paced


def _marks(reply: Reply, frames: Sequence[bytes]) -> list[tuple[int, Step]]:
    """What happens at which byte of the stream, in order; holds come before what ends the stream."""
    marks: list[tuple[int, Step]] = []
    for hold in reply.holds:
        step = Gate(hold.gate) if hold.gate else Pause(hold.seconds)
        marks.append((_offset(hold.after, frames), step))
    if reply.error and reply.error_after:
        marks.append((_offset(reply.error_after, frames), Send(sse.frame(reply.error.body()))))
    if reply.disconnect_after:
        marks.append((_offset(reply.disconnect_after, frames), Cut()))
    return sorted(marks, key=lambda mark: mark[0])


def _offset(point: Point, frames: Sequence[bytes]) -> int:
    total = sum(map(len, frames))
    return min(point.count, total) if point.unit == "bytes" else sum(map(len, frames[: point.count]))
