"""One call of a tool that behaves well, badly, or not at all."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from dcops.agent.calls import execution
from dcops.agent.calls.call import Call
from dcops.agent.calls.execution import Execution
from dcops.agent.calls.live import Live
from dcops.agent.tools.output import MOST
from dcops.agent.tools.tool import Effect, Tool, ToolContext, ToolOutput, ToolProgress, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

    from dcops.agent.events import Event


class Scripted(Tool):
    """A tool that does what the test says."""

    name = "scripted"
    description = "Stands in."
    input_schema = {"type": "object"}  # noqa: RUF012

    def __init__(self, script: Callable[[], AsyncGenerator[Any, None]], seconds: float = 20) -> None:
        self._script = script
        self._seconds = seconds
        self.runs = 0

    def timeout(self, arguments: dict[str, Any]) -> float:
        del arguments
        return self._seconds

    def run(self, arguments: dict[str, Any], context: ToolContext) -> AsyncGenerator[Any, None]:
        del arguments, context
        self.runs += 1
        return self._script()


class Ran:
    """What became of a call."""

    def __init__(self, folder: Path, tool: Scripted) -> None:
        self.events: list[Event] = []
        self._execution: Execution | None = None
        self._tool = tool
        self._context = ToolContext("s", folder, folder / "out" / "c.log")

    async def run(self) -> ToolResult:
        call = Call("c", self._tool, {}, Effect.EFFECTS, None, self._tool.timeout({}))
        self._execution = Execution(call, self._context, Live("c", self.events.append, 0), self.events.append)
        return await self._execution.run()

    @property
    def partial(self) -> str:
        assert self._execution is not None
        return self._execution.partial

    def told(self, name: str) -> list[dict[str, Any]]:
        return [event.data["value"] for event in self.events if event.data["name"] == name]


def _run(folder: Path, script: Callable[[], AsyncGenerator[Any, None]], seconds: float = 20) -> ToolResult:
    return asyncio.run(asyncio.wait_for(Ran(folder, Scripted(script, seconds)).run(), 20))


async def _silent() -> AsyncGenerator[Any, None]:
    yield ToolOutput("hm")


async def _twice() -> AsyncGenerator[Any, None]:
    yield ToolResult("first")
    yield ToolResult("second")


async def _raising() -> AsyncGenerator[Any, None]:
    yield ToolOutput("before")
    raise RuntimeError("broken " + "x" * 100_000)


async def _slow_by_itself() -> AsyncGenerator[Any, None]:
    yield ToolOutput("before")
    raise TimeoutError("the server does not answer")


async def _cancelling() -> AsyncGenerator[Any, None]:
    yield ToolOutput("before")
    raise asyncio.CancelledError


async def _odd() -> AsyncGenerator[Any, None]:
    yield "just text"


async def _exiting() -> AsyncGenerator[Any, None]:
    yield ToolOutput("before")
    sys.exit("usage: ...")


async def _interrupting() -> AsyncGenerator[Any, None]:
    yield ToolOutput("before")
    raise KeyboardInterrupt


async def _garbled() -> AsyncGenerator[Any, None]:
    yield ToolOutput("before")
    raise ValueError("caf\udce9")


@pytest.mark.parametrize(
    ("script", "status", "content"),
    [
        (_silent, "failed", "The tool failed: RuntimeError: it ended without a result"),
        (_twice, "done", "first"),
        (_raising, "failed", "The tool failed: RuntimeError: broken xxx"),
        (_slow_by_itself, "failed", "The tool failed: TimeoutError: the server does not answer"),
        (_cancelling, "failed", "The tool failed: it was cancelled from within."),
        (_odd, "failed", "The tool failed: TypeError: it yielded a str"),
        (_exiting, "failed", "The tool failed: SystemExit: usage: ..."),
        (_interrupting, "failed", "The tool failed: KeyboardInterrupt: "),
        (_garbled, "failed", "The tool failed: ValueError: caf?"),
    ],
)
def test_whatever_a_tool_does_there_is_one_result(
    tmp_path: Path, script: Any, status: str, content: str
) -> None:
    result = _run(tmp_path, script)
    assert result.status == status
    assert result.content.startswith(content)
    assert len(result.content) < 5_000


def test_a_huge_result_is_shortened_and_kept_whole(tmp_path: Path) -> None:
    async def huge() -> AsyncGenerator[Any, None]:
        yield ToolResult("first" + "x" * 3_000_000 + "last")

    result = _run(tmp_path, huge)
    assert len(result.content) < MOST
    assert result.content.startswith("first")
    assert result.content.endswith("last")
    assert f"is in {tmp_path}/out/c.log" in result.content
    assert (tmp_path / "out/c.log").stat().st_size == 3_000_009


def test_lone_surrogates_reach_neither_the_journal_nor_the_model(tmp_path: Path) -> None:
    async def odd() -> AsyncGenerator[Any, None]:
        yield ToolOutput("caf\udce9")
        yield ToolResult("caf\udce9")

    async def test() -> None:
        ran = Ran(tmp_path, Scripted(odd))
        assert (await ran.run()).content == "caf?"
        assert ran.told("tool.output") == [{"call": "c", "text": "caf?"}]

    asyncio.run(test())


def test_a_call_that_takes_too_long_is_ended_and_its_output_kept(tmp_path: Path) -> None:
    ended: list[str] = []

    async def slow() -> AsyncGenerator[Any, None]:
        yield ToolOutput("so far")
        try:
            await asyncio.sleep(1000)
        finally:
            ended.append("cleaned up")
        yield ToolResult("never")

    result = _run(tmp_path, slow, 0.05)
    assert result.status == "timed_out"
    assert "it took longer than 0.05 s" in result.content
    assert result.content.endswith("so far")
    assert ended == ["cleaned up"]


def test_a_tool_that_never_waits_is_ended_in_its_time(tmp_path: Path) -> None:
    """What it puts out is all that it does, as fast as it can."""

    async def greedy() -> AsyncGenerator[Any, None]:
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            yield ToolOutput("x")
        yield ToolResult("never")

    assert _run(tmp_path, greedy, 0.05).status == "timed_out"


@pytest.mark.parametrize("stopped", [True, False])
def test_a_call_that_ends_in_the_moment_of_its_end_keeps_its_result(tmp_path: Path, stopped: bool) -> None:
    """Its time is up, or its user stops it; it is not tried again either."""

    async def test() -> None:
        go = asyncio.Event()

        async def just() -> AsyncGenerator[Any, None]:
            yield ToolOutput("before")
            await go.wait()
            if not stopped:
                time.sleep(0.3)  # noqa: ASYNC251 - the loop must find the result and the time at once
            yield ToolResult("just in time", "failed", retryable=True)

        tool = Scripted(just, 20 if stopped else 0.2)
        running = asyncio.create_task(Ran(tmp_path, tool).run())
        asyncio.get_running_loop().call_later(0.05, go.set)
        await go.wait()
        if stopped:
            (work,) = (task for task in asyncio.all_tasks() if "Execution._work" in repr(task))
            work.add_done_callback(lambda _: running.cancel())
        result = await running
        assert (result.content, tool.runs) == ("just in time", 1)

    asyncio.run(asyncio.wait_for(test(), 20))


@pytest.mark.parametrize("seconds", [0.05, 20])
def test_a_tool_that_does_not_heed_its_end_holds_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: Any, seconds: float
) -> None:
    """Its time is up, or its user stops it."""
    monkeypatch.setattr(execution, "GRACE", 0.05)

    async def test() -> None:
        go = asyncio.Event()

        async def stubborn() -> AsyncGenerator[Any, None]:
            yield ToolOutput("before")
            while not go.is_set():
                try:
                    await go.wait()
                except asyncio.CancelledError:
                    continue
            yield ToolOutput("after the end")
            yield ToolResult("too late")

        ran = Ran(tmp_path, Scripted(stubborn, seconds))
        with capture_logs() as logs:
            running = asyncio.create_task(ran.run())
            await wait_until(lambda: ran.events)
            if seconds > 1:
                running.cancel()
            await asyncio.wait({running}, timeout=10)
        assert running.done()
        assert running.cancelled() == (seconds > 1)
        assert [entry["event"] for entry in logs] == ["tool.stuck"]
        go.set()
        await asyncio.gather(*execution._stuck)
        assert [told["text"] for told in ran.told("tool.output")] == ["before"]

    asyncio.run(asyncio.wait_for(test(), 20))


def test_a_failure_that_can_do_no_harm_is_tried_again_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "RETRIES", (0.0, 0.0))

    async def test() -> None:
        async def script() -> AsyncGenerator[Any, None]:
            good = tool.runs == 2
            yield ToolResult("ran" if good else "busy", "done" if good else "failed", retryable=not good)

        tool = Scripted(script)
        ran = Ran(tmp_path, tool)
        assert (await ran.run()).content == "ran"
        assert ran.told("tool.retry") == [{"call": "c", "attempt": 1, "reason": "busy", "seconds": 0.0}]

    asyncio.run(test())


def test_the_time_of_a_call_is_that_of_all_its_tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(execution, "RETRIES", (1000.0, 1000.0))

    async def failing() -> AsyncGenerator[Any, None]:
        yield ToolResult("busy", "failed", retryable=True)

    tool = Scripted(failing, 0.05)
    assert asyncio.run(Ran(tmp_path, tool).run()).status == "timed_out"
    assert tool.runs == 1


@pytest.mark.parametrize(("retryable", "runs"), [(True, 3), (False, 1)])
def test_a_failure_is_tried_again_twice_at_most_and_only_if_the_tool_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retryable: bool, runs: int
) -> None:
    monkeypatch.setattr(execution, "RETRIES", (0.0, 0.0))

    async def failing() -> AsyncGenerator[Any, None]:
        yield ToolResult("busy", "failed", retryable=retryable)

    tool = Scripted(failing)
    assert asyncio.run(Ran(tmp_path, tool).run()).content == "busy"
    assert tool.runs == runs


def test_progress_is_shown_of_real_totals_only(tmp_path: Path) -> None:
    async def test() -> None:
        async def working() -> AsyncGenerator[Any, None]:
            for done, total in [(0, 4), (1, 4), (9, 4), (1, 0)]:
                yield ToolProgress(done, total)
            yield ToolResult("done")

        ran = Ran(tmp_path, Scripted(working))
        await ran.run()
        told = ran.told("tool.progress")
        assert [value["percent"] for value in told] == [0.0, 25.0, 100.0]
        assert [value["eta"] is None for value in told] == [True, False, False]

    asyncio.run(test())
