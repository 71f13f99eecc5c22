"""Calls within turns: when they start, beside which others, what is shown of them, and what they leave."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.tools.registry import Registry
from dcops.agent.tools.tool import Lane, Tool, ToolContext, ToolOutput, ToolProgress, ToolResult

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


class Held(Tool):
    """A tool whose calls run until the test lets them go, by name."""

    description = "Stands in."
    input_schema = {  # noqa: RUF012
        "type": "object",
        "properties": {"n": {"type": "string"}, "lane": {"type": "string"}},
        "additionalProperties": False,
    }

    def __init__(self, name: str = "act", *, readonly: bool = False, pieces: int = 0) -> None:
        self.name = name
        self.readonly = readonly
        self.running: list[str] = []
        self.began: list[str] = []
        self._go: dict[str, asyncio.Event] = {}
        self._pieces = pieces

    def go(self, *names: str) -> None:
        for name in names:
            self._go.setdefault(name, asyncio.Event()).set()

    def lane(self, arguments: dict[str, Any], context: ToolContext) -> Lane | None:
        del context
        name = arguments.get("lane")
        return Lane(name.removesuffix("*"), shared=name.endswith("*")) if name else None

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> AsyncGenerator[Any, None]:
        del context
        name = arguments.get("n", "")
        self.began.append(name)
        self.running.append(name)
        for piece in range(self._pieces):
            yield ToolOutput(f"{piece}")
            yield ToolProgress(piece + 1, self._pieces)
        await self._go.setdefault(name, asyncio.Event()).wait()
        self.running.remove(name)
        yield ToolResult("")


def _states(house: Any) -> dict[str, list[str]]:
    """The states of each call in their order."""
    states: dict[str, list[str]] = {}
    for event in house.events:
        if event.type == "CUSTOM" and "call" in event.data["value"]:
            name, value = event.data["name"], event.data["value"]
            states.setdefault(value["call"], []).append(value.get("status", name))
    return states


# When a call starts


@pytest.mark.parametrize(
    ("toggles", "early"),
    [
        ({}, ["look", "act"]),
        ({"eager_tools": "readonly"}, ["look"]),
        ({"eager_tools": "off"}, []),
        ({"enable_tool_buffer": False}, []),
    ],
)
def test_eager_tools_and_enable_tool_buffer_say_what_starts_while_the_model_writes(
    house: Any, say: Any, wait_until: Any, toggles: dict[str, Any], early: list[str]
) -> None:
    house.toggles |= toggles
    look, act = Held("look", readonly=True), Held()
    for tool in (look, act):
        tool.go("")
    house.use(Registry([look, act]))
    seen: list[str] = []

    async def before_the_end() -> None:
        await wait_until(lambda: len(look.began + act.began) == len(early))
        await asyncio.sleep(0.02)
        seen.extend(tool.name for tool in (look, act) if tool.began)

    calls = [say.call("c1", "look", n=""), say.call("c2", "act", n=""), say.text("and so on")]
    reply = say.reply(*calls, stop="tool_use")
    turn = asyncio.run(
        house.turn("go", [*reply[:-2], before_the_end, *reply[-2:]], say.reply(say.text("done")))
    )
    assert turn.state == "done"
    assert seen == early
    assert _states(house) == {call: ["tool.queued", "tool.started", "done"] for call in ("c1", "c2")}


@pytest.mark.parametrize("eager", ["off", "readonly", "confirmed"])
@pytest.mark.parametrize("buffer", [True, False])
def test_no_setting_runs_an_unfinished_call(house: Any, say: Any, eager: str, buffer: bool) -> None:
    house.toggles |= {"eager_tools": eager, "enable_tool_buffer": buffer}
    tools = [Held("look", readonly=True), Held()]
    house.use(Registry(tools))
    for cut in ([say.raw("c1", "look", '{"n": "a')], [say.call("c2", "act", n="a")]):
        asyncio.run(house.turn("go", say.reply(*cut, stop="max_tokens"), say.reply(say.text("done"))))
    assert [tool.began for tool in tools] == [[], []]
    assert {call: states[-1] for call, states in _states(house).items()} == {"c1": "not_run", "c2": "not_run"}


def test_the_buffer_delay_holds_a_call_and_a_stop_within_it_is_quick(
    house: Any, say: Any, wait_until: Any
) -> None:
    house.toggles |= {"enable_buffer_delay": True, "buffer_delay_ms": 60_000}
    act = Held()
    house.use(Registry([act]))

    async def test() -> None:
        _, task = house.begin("go", say.reply(say.call("c", "act", n="a"), stop="tool_use"))
        await wait_until(lambda: house.customs("tool.queued"))
        house.journal.request_control(house.session, "stop")
        await asyncio.wait_for(task, 10)

    asyncio.run(test())
    assert act.began == []
    assert _states(house) == {"c": ["tool.queued", "not_run"]}
    assert house.results()["c"]["content"][0]["text"] == "Not executed: stopped by the user."


@pytest.mark.parametrize(("toggles", "waits"), [({}, 1), ({"enable_buffer_delay": False}, 0)])
def test_the_buffer_delay_counts_from_the_release(
    house: Any, say: Any, monkeypatch: pytest.MonkeyPatch, toggles: dict[str, Any], waits: int
) -> None:
    """The second one waits for the first one's end, and by then its own delay is over."""
    house.toggles |= {"enable_buffer_delay": True, "buffer_delay_ms": 200, **toggles}
    act = Held()
    act.go("a", "b")
    house.use(Registry([act]))
    waited: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds > 0.05:  # the journal looks for news in between
            waited.append(seconds)
        await sleep(seconds)

    monkeypatch.setattr(asyncio, "sleep", noted)
    calls = [say.call(name, "act", n=name, lane="one") for name in "ab"]
    asyncio.run(house.turn("go", say.reply(*calls, stop="tool_use"), say.reply(say.text("done"))))
    assert len(waited) == waits
    assert all(0.1 < seconds <= 0.2 for seconds in waited)
    assert act.began == ["a", "b"]


def test_a_call_that_is_queued_in_the_moment_of_a_stop_is_told_once(house: Any, say: Any) -> None:
    """Its task is cancelled before the first step, and so never runs."""
    act = Held()
    house.use(Registry([act]))

    async def test() -> None:
        reply = say.reply(say.call("c", "act", n="a"), stop="tool_use")
        _, task = house.begin("go", reply)
        (run,) = house.runner._runs.values()
        dispatch = run._conversation._dispatch
        start = dispatch.start

        def start_and_stop(call: Any) -> None:
            start(call)
            run.stop()

        dispatch.start = start_and_stop
        await asyncio.wait_for(task, 10)

    asyncio.run(test())
    assert act.began == []
    assert _states(house) == {"c": ["tool.queued", "not_run"]}
    assert [event.type for event in house.events].count("TOOL_CALL_RESULT") == 1
    assert house.problems() == []


# Beside which others it runs


def _with(house: Any, say: Any, tool: Held, calls: dict[str, str], **toggles: Any) -> asyncio.Task[Any]:
    house.use(Registry([tool]))
    house.toggles |= toggles
    asked = [say.call(n, "act", n=n, **({"lane": lane} if lane else {})) for n, lane in calls.items()]
    _, task = house.begin("go", say.reply(*asked, stop="tool_use"), say.reply(say.text("done")))
    return task  # type: ignore[no-any-return]


def test_readers_of_a_file_share_it_and_a_writer_has_it_alone(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        act = Held()
        task = _with(house, say, act, {"r1": "a*", "r2": "a*", "w": "a", "r3": "a*", "other": "b"})
        await wait_until(lambda: set(act.running) == {"r1", "r2", "other"})
        await wait_until(lambda: len(house.customs("tool.queued")) == 5)
        act.go("r1", "r2")
        await wait_until(lambda: "w" in act.running)
        assert "r3" not in act.running
        act.go("w", "r3", "other")
        await asyncio.wait_for(task, 10)
        assert act.began[-2:] == ["w", "r3"]

    asyncio.run(test())


def test_max_parallel_tools_are_run_at_once_and_who_waits_for_a_lane_is_none_of_them(
    house: Any, say: Any, wait_until: Any
) -> None:
    async def test() -> None:
        act = Held()
        calls = {"s1": "shell", "s2": "shell", "x": "", "y": ""}
        task = _with(house, say, act, calls, max_parallel_tools=2)
        await wait_until(lambda: len(house.customs("tool.queued")) == 4)
        await wait_until(lambda: act.running == ["s1", "x"])
        act.go("x")
        await wait_until(lambda: act.running == ["s1", "y"])
        act.go("s1", "s2", "y")
        await asyncio.wait_for(task, 10)
        assert act.began == ["s1", "x", "y", "s2"]

    asyncio.run(test())


# What is shown of it


@pytest.mark.parametrize("toggle", ["use_streaming_bash", "use_streaming_file", "use_streaming_screenshot"])
@pytest.mark.parametrize("on", [True, False])
def test_a_tools_own_toggle_says_whether_it_is_shown_while_it_runs(
    house: Any, say: Any, toggle: str, on: bool
) -> None:
    act = Held(pieces=3)
    act.streams_by = toggle
    act.go("a")
    others = {"use_streaming_bash", "use_streaming_file", "use_streaming_screenshot"} - {toggle}
    house.toggles |= {toggle: on, **dict.fromkeys(others, not on), "output_interval_ms": 0}

    async def test() -> None:
        await _with(house, say, act, {"a": ""})

    asyncio.run(test())
    assert [value["text"] for value in house.customs("tool.output")] == (["0", "1", "2"] if on else [])
    assert len(house.customs("tool.progress")) == (3 if on else 0)
    assert house.results()["a"]["content"][0]["text"] == "[no output]"


@pytest.mark.parametrize(("milliseconds", "percents"), [(5000, [100.0]), (0, [25.0, 50.0, 75.0, 100.0])])
def test_the_output_interval_gathers_what_is_shown(
    house: Any, say: Any, milliseconds: int, percents: list[float]
) -> None:
    act = Held(pieces=4)
    act.go("a")

    async def test() -> None:
        await _with(house, say, act, {"a": ""}, output_interval_ms=milliseconds)

    asyncio.run(test())
    assert "".join(value["text"] for value in house.customs("tool.output")) == "0123"
    assert [value["percent"] for value in house.customs("tool.progress")] == percents
    assert _states(house)["a"][-1] == "done"


@pytest.mark.parametrize("on", [True, False])
def test_use_streaming_file_shows_a_long_view_while_it_is_read(house: Any, say: Any, on: bool) -> None:
    (house.workspace / "long").write_text("".join(f"{n:60}\n" for n in range(600)))
    house.toggles |= {"use_streaming_file": on, "output_interval_ms": 0}
    reply = say.reply(say.call("c", "files", command="view", path="long"), stop="tool_use")
    asyncio.run(house.turn("go", reply, say.reply(say.text("done"))))
    result = house.results()["c"]["content"][0]["text"]
    assert len(result) > 30_000
    shown = "".join(value["text"] for value in house.customs("tool.output"))
    assert shown == (f"{result}\n" if on else "")


# What it leaves


def test_what_is_refused_runs_nothing_and_says_what_to_correct(house: Any, say: Any) -> None:
    calls = [
        say.raw("cut", "bash", '{"command": "touch x"'),
        say.raw("two", "bash", '{"command": "touch x"}{"command": "touch y"}'),
        say.raw("twice", "bash", '{"command": "true", "command": "touch x"}'),
        say.raw("number", "bash", '{"command": "touch x", "timeout": NaN}'),
        say.raw("list", "bash", '["touch x"]'),
        say.call("more", "bash", command="touch x", force=True),
        say.call("nul", "bash", command="touch x\0"),
        say.call("outside", "files", command="view", path="../secret"),
    ]
    turn = asyncio.run(house.turn("go", say.reply(*calls, stop="tool_use"), say.reply(say.text("done"))))
    assert turn.state == "done"
    results = house.results()
    assert all(result["is_error"] for result in results.values())
    told = {call: result["content"][0]["text"] for call, result in results.items()}
    assert all(text.startswith("Not executed: ") for text in told.values())
    for call in ("cut", "two", "twice", "number", "list"):
        assert "JSON" in told[call], told[call]
    assert "it takes: command, timeout" in told["more"]
    assert "NUL" in told["nul"]
    assert "outside the workspace" in told["outside"]
    assert house.journal.calls(turn) == {}
    assert list(house.workspace.iterdir()) == []
    inputs = {block["id"]: block["input"] for block in house.messages[1]["content"]}
    assert inputs["two"] == {"INVALID_JSON": '{"command": "touch x"}{"command": "touch y"}'}
    assert set(map(tuple, _states(house).values())) == {("not_run",)}
    assert house.problems() == []


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("true", "[exit code 0]"),
        ("printf 'caf\\xe9 au lait'", "caf\ufffd au lait\n"),
        ("printf '\\033]0;title\\007\\033[31mred\\033[0m'", "red\n"),
        ("head -c 5000 /dev/urandom", "[binary output of 5000 bytes; all of it is in "),
        ("seq 100000", "characters left out; all of it is in "),
    ],
)
def test_an_output_of_any_kind_is_told_as_text(house: Any, say: Any, command: str, told: str) -> None:
    async def test() -> None:
        reply = say.reply(say.call("c", "bash", command=command), stop="tool_use")
        await house.turn("go", reply, say.reply(say.text("done")))
        await house.runner.close()

    asyncio.run(test())
    text = house.results()["c"]["content"][0]["text"]
    assert told in text
    assert len(text) < 31_000
    shown = "".join(value["text"] for value in house.customs("tool.output"))
    assert "\x1b" not in shown + text
    assert house.customs("tool.finished")[0]["status"] == "done"
    assert house.problems() == []


def test_what_was_noted_but_held_is_noted_as_not_executed(
    house: Any, say: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause that comes while the note is written; whoever recovers the turn must know of no effects."""
    act = Held()
    record = house.journal.record_call_started

    async def test() -> None:
        loop = asyncio.get_running_loop()

        def record_and_pause(*call: Any) -> Any:
            (run,) = house.runner._runs.values()
            loop.call_soon_threadsafe(run._wishes.pause)
            return record(*call)

        monkeypatch.setattr(house.journal, "record_call_started", record_and_pause)
        task = _with(house, say, act, {"a": ""})
        await wait_until(lambda: house.customs("paused"))
        house.journal.request_control(house.session, "stop")
        await asyncio.wait_for(task, 10)

    asyncio.run(test())
    assert act.began == []
    assert _states(house) == {"a": ["tool.queued", "not_run"]}
    (turn,) = {event.data["runId"] for event in house.events if event.type == "RUN_STARTED"}
    (noted,) = house.journal.calls(house.journal.turn(turn)).values()
    assert noted.result["content"] == "Not executed: stopped by the user."
