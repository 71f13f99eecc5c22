"""One execution of a tool: shown while it runs, tried again where that is safe, ended in its time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from .. import events
from ..model.history import interrupted
from ..tools.output import MOST, plain_text, shortened
from ..tools.tool import ToolOutput, ToolProgress, ToolResult

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..events import Event
    from ..tools.tool import ToolContext
    from .call import Call
    from .live import Live

PARTIAL = 4_000
"""Characters of an unfinished call's output that the model is told."""

RETRIES = (0.2, 1.0)
"""Seconds before each further try of a call whose failure its tool calls retryable."""

GRACE = 1.0
"""Seconds that a tool has to end once it is cancelled; then nobody waits for it any longer."""

log = structlog.get_logger(__name__)
_stuck: set[asyncio.Task[ToolResult]] = set()


class Execution:
    """The way of one call from its outputs to its result.

    Attributes:
        partial: the end of what it has put out so far.
    """

    def __init__(
        self, call: Call, context: ToolContext, live: Live | None, emit: Callable[[Event], None]
    ) -> None:
        """Runs nothing yet; without `live` nothing is shown before the result."""
        self._call = call
        self._context = context
        self._live = live
        self._emit = emit
        self.partial = ""

    async def run(self) -> ToolResult:
        """The call's one result, whatever the tool does; when this is cancelled, the tool is ended first."""
        seconds = self._call.timeout
        try:
            async with asyncio.timeout(seconds):
                return await self._tries()
        except TimeoutError:  # only ours: what the tool raises is a result by now
            told = interrupted(f"it took longer than {seconds:g} s", self.partial)
            return ToolResult(told.content, "timed_out")
        finally:
            if self._live:
                self._live.close()

    async def _tries(self) -> ToolResult:
        for attempt, wait in enumerate(RETRIES, 1):
            result = await self._try()
            if not result.retryable:
                return result
            told = {"call": self._call.id, "attempt": attempt, "reason": result.content, "seconds": wait}
            self._emit(events.custom("tool.retry", told))
            await asyncio.sleep(wait)
        return await self._try()

    async def _try(self) -> ToolResult:
        work = asyncio.create_task(self._work())
        try:
            await asyncio.wait({work})
        except asyncio.CancelledError:
            if not work.done():
                await self._end(work)
                raise
            return replace(work.result(), retryable=False)  # it has ended in the moment of its end
        return work.result()

    async def _end(self, work: asyncio.Task[ToolResult]) -> None:
        """Ends the tool. One that does not heed it runs on, and what it still says is not heard."""
        work.cancel()
        _stuck.add(work)
        work.add_done_callback(_forget)
        await asyncio.wait({work}, timeout=GRACE)
        if not work.done():
            log.warning("tool.stuck", tool=self._call.tool.name, call=self._call.id, seconds=GRACE)

    async def _work(self) -> ToolResult:
        try:
            return await self._consume()
        except asyncio.CancelledError:
            return _failed("it was cancelled from within.")  # otherwise nobody hears this any more
        except BaseException as error:  # what ends a program, as SystemExit does, would end the whole agent
            return _failed(f"{type(error).__name__}: {error}")

    async def _consume(self) -> ToolResult:
        async with aclosing(self._call.tool.run(self._call.arguments, self._context)) as items:
            async for item in items:
                match item:
                    case ToolOutput(text):
                        self._show(plain_text(text))
                    case ToolProgress():
                        if self._live:
                            self._live.progress(item)
                    case ToolResult():
                        return await self._fitting(item)
                    case _:
                        raise TypeError(f"it yielded a {type(item).__name__}")
                await asyncio.sleep(0)  # a tool need not wait between its pieces; others do not wait for it
        raise RuntimeError("it ended without a result")

    def _show(self, text: str) -> None:
        self.partial = (self.partial + text)[-PARTIAL:]
        if self._live:
            self._live.output(text)

    async def _fitting(self, result: ToolResult) -> ToolResult:
        content = result.content
        if len(content) > MOST:
            content = await asyncio.to_thread(shortened, content, self._context.output)
        return replace(result, content=plain_text(content))


def _failed(why: str) -> ToolResult:
    return ToolResult(plain_text(f"The tool failed: {why}"[:PARTIAL]), "failed")


def _forget(work: asyncio.Task[ToolResult]) -> None:
    _stuck.discard(work)
    if not work.cancelled():
        work.exception()  # nobody else looks at it, and it would be reported as never retrieved
