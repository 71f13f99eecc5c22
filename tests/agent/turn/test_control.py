"""What a user asks of a running turn, whenever it comes: stop, pause, resume, steer."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.events import Fault
from dcops.agent.journal.journal import Journal
from dcops.agent.model.transport import Transport
from dcops.agent.tools.registry import Registry
from dcops.agent.tools.tool import Tool, ToolContext, ToolOutput, ToolResult
from dcops.agent.turn.conversation import Conversation
from dcops.agent.turn.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

ENDS = {"RUN_FINISHED", "RUN_ERROR"}
_STOPPED = "[This turn was interrupted: stopped by the user.]"


class Held(Tool):
    """A tool that runs until it is let go; a stubborn one also ends well when it is cancelled."""

    name = "held"
    description = "Waits."
    input_schema = {"type": "object", "additionalProperties": False}  # noqa: RUF012

    def __init__(self, *, stubborn: bool = False) -> None:
        self.go = asyncio.Event()
        self.runs = 0
        self._stubborn = stubborn

    async def run(self, arguments: dict[str, Any], context: ToolContext) -> AsyncIterator[Any]:
        del arguments, context
        self.runs += 1
        yield ToolOutput("begun")
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            if not self._stubborn:
                raise
        yield ToolResult("held no more")


def _forever() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


def _ask(house: Any, kind: str, text: str = "") -> None:
    assert house.journal.request_control(house.session, kind, {"input": text} if text else {})


def _run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def _expect_stopped(house: Any, turn: Any) -> None:
    """It ended once, as its user wished, and the conversation can go on."""
    assert house.journal.turn(turn.id).state == "stopped"
    told = [event for _, event in house.journal.events(turn.session, house.journal.began_after(turn))]
    assert [event for event in told if event.type in ENDS] == [told[-1]]
    assert told[-1].data["outcome"] == {"type": "cancelled"}
    house.results()
    assert house.problems() == []


def _texts(house: Any) -> list[str]:
    return [
        block["text"] for message in house.messages for block in message["content"] if block["type"] == "text"
    ]


# Stop


@pytest.mark.parametrize("earlier", [False, True])
def test_a_stop_that_comes_first_leaves_what_was_said(house: Any, say: Any, earlier: bool) -> None:
    async def test() -> None:
        if earlier:
            await house.turn("hello", say.reply(say.text("good day")))
        turn = house.journal.start_turn(house.session, "go")
        _ask(house, "stop")
        await house.runner.start(turn, house.toggles)
        _expect_stopped(house, turn)

    _run(test())
    said = ["hello", "good day"] if earlier else []
    assert _texts(house) == [*said, "go", "[This turn was interrupted: stopped by the user.]"]
    assert house.model.requests == [] or earlier


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 5000\r\n\r\n"
_EVENT = b'event: ping\r\ndata: {"type": "ping"}\r\n\r\n'


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("answer", [b"", _HEAD, _HEAD + _EVENT], ids=["nothing", "head", "piece"])
@pytest.mark.parametrize("silent", ["GET", "POST"])
def test_a_stop_ends_a_request_that_nobody_answers(
    house: Any, streamed: bool, answer: bytes, silent: str
) -> None:
    """Over real sockets: the connection stands, and nothing more comes, about the model or from it."""

    async def test() -> None:
        asked, left = asyncio.Event(), asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if silent.encode() in await reader.readline():
                writer.write(answer)
                asked.set()
                while await reader.read(65536):
                    pass
                left.set()
            else:
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport = Transport(f"http://127.0.0.1:{port}", "k" * 64)
        await transport.load()
        house.model = transport
        house.toggles["use_unified_streaming"] = streamed
        house.use(Registry([]))
        turn = house.journal.start_turn(house.session, "go")
        task = house.runner.start(turn, house.toggles)
        await asked.wait()
        _ask(house, "stop")
        await task
        _expect_stopped(house, turn)
        if silent == "POST":  # what is asked about the model is for other turns, too
            await left.wait()
        await transport.close()
        server.close()

    _run(test())


def test_a_stop_ends_the_wait_before_another_attempt(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        fault = Fault("overloaded_error", "too much to do", passing=True, retry_after=50)
        turn, task = house.begin("go", [fault], say.reply(say.text("never")))
        await wait_until(lambda: house.customs("retry"))
        _ask(house, "stop")
        await task
        _expect_stopped(house, turn)
        assert len(house.model.requests) == 1

    _run(test())


def test_a_stop_is_none_of_the_faults_that_it_brings_about(house: Any, wait_until: Any) -> None:
    """A library may make an error of its own of a request that is cancelled."""

    class Wrapping:
        catalogue = house.model.catalogue
        requests = 0

        @asynccontextmanager
        async def stream(self, *_: Any) -> AsyncIterator[Any]:
            self.requests += 1
            try:
                await _forever()
            except asyncio.CancelledError:
                raise Fault("connection_error", "cancelled, says the library") from None
            yield

    async def test() -> None:
        house.model = Wrapping()
        house.use(Registry([]))
        turn = house.journal.start_turn(house.session, "go")
        task = house.runner.start(turn, house.toggles)
        await wait_until(lambda: house.model.requests)
        _ask(house, "stop")
        await task
        _expect_stopped(house, turn)
        assert house.model.requests == 1

    _run(test())


@pytest.mark.parametrize(
    "command",
    [
        "sleep 300 & sleep 300 & echo $! > pid; echo ready; wait",
        "trap '' TERM INT HUP; echo $$ > pid; echo ready; while :; do sleep 300; done",
        "(trap '' TERM; echo $BASHPID > pid; echo ready; sleep 300; sleep 300) & wait",
        "setsid sleep 300 & echo $! > pid; echo ready; wait",
    ],
)
def test_a_stop_leaves_no_process_behind(house: Any, say: Any, wait_until: Any, command: str) -> None:
    async def test() -> None:
        turn, task = house.begin("go", say.reply(say.call("c", "bash", command=command), stop="tool_use"))
        await wait_until(lambda: house.customs("tool.output"))
        pid = int(next(house.workspace.rglob("pid")).read_text())
        os.kill(pid, 0)
        _ask(house, "stop")
        await task
        _expect_stopped(house, turn)
        assert _gone(pid)

    _run(test())
    assert house.results()["c"]["content"][0]["text"].startswith("Interrupted while running: stopped by the")


def _gone(pid: int) -> bool:
    """Whether a process is no more, or waits only for its parent to notice."""
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123 - /proc has no files to speak of
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_stop_after_some_calls_are_done_still_stops(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        held, quick = Held(), Held()
        quick.name = "quick"
        quick.go.set()
        house.use(Registry([held, quick]))
        calls = [say.call("done", "quick"), say.call("runs", "held")]
        turn, task = house.begin("go", say.reply(*calls, stop="tool_use"), say.reply(say.text("never")))
        await wait_until(lambda: held.runs and house.customs("tool.finished"))
        _ask(house, "stop")
        await task
        _expect_stopped(house, turn)

    _run(test())
    assert len(house.model.requests) == 1
    told = {call: result["content"][0]["text"][:12] for call, result in house.results().items()}
    assert told == {"done": "held no more", "runs": "Interrupted "}


def test_nothing_is_told_after_the_end_even_by_a_tool_that_does_not_stop(
    house: Any, say: Any, wait_until: Any
) -> None:
    async def test() -> None:
        held = Held(stubborn=True)
        house.use(Registry([held]))
        turn, task = house.begin("go", say.reply(say.call("c", "held"), stop="tool_use"))
        await wait_until(lambda: held.runs)
        _ask(house, "stop")
        await task
        told = house.journal.session(house.session).last_seq
        await house.runner.close()
        assert house.journal.session(house.session).last_seq == told
        _expect_stopped(house, turn)
        assert len(house.model.requests) == 1

    _run(test())
    assert [event.type for event in house.events].count("TOOL_CALL_RESULT") == 1


def test_two_stops_are_one(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        held = Held()
        house.use(Registry([held]))
        turn, task = house.begin("go", say.reply(say.call("c", "held"), stop="tool_use"))
        await wait_until(lambda: held.runs)
        _ask(house, "stop")
        _ask(house, "stop")
        await task
        _expect_stopped(house, turn)
        assert house.journal.request_control(house.session, "stop") is None
        assert (await house.turn("go on", say.reply(say.text("gladly")))).state == "done"

    _run(test())


def test_an_ended_turn_is_not_stopped(house: Any, say: Any) -> None:
    async def test() -> None:
        ended = await house.turn("go", say.reply(say.text("done")))
        told = house.journal.session(house.session).last_seq
        assert house.journal.request_control(house.session, "stop") is None
        assert (await house.turn("go on", say.reply(say.text("gladly")))).state == "done"
        assert house.journal.turn(ended.id).state == "done"
        assert house.journal.session(house.session).last_seq > told

    _run(test())


def test_any_instance_stops_a_turn(house: Any, tmp_path: Path, wait_until: Any) -> None:
    async def test() -> None:
        other = Journal.open(tmp_path / "state", "two")
        turn, task = house.begin("go", [_forever])
        await wait_until(lambda: house.model.requests)
        assert other.request_control(house.session, "stop") == turn.id
        await task
        _expect_stopped(house, turn)
        other.close()

    _run(test())


# Pause, resume


def test_a_pause_holds_the_next_request_while_a_tool_goes_on(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        held = Held()
        house.use(Registry([held]))
        reply = say.reply(say.call("c", "held"), stop="tool_use")
        turn, task = house.begin("go", reply, say.reply(say.text("done")))
        await wait_until(lambda: held.runs)
        _ask(house, "pause")
        _ask(house, "pause")
        await wait_until(lambda: house.customs("paused"))
        held.go.set()
        await wait_until(lambda: house.customs("tool.finished") and house.results())
        assert len(house.model.requests) == 1
        assert house.journal.turn(turn.id).state == "running"
        _ask(house, "resume")
        await task
        assert house.journal.turn(turn.id).state == "done"

    _run(test())
    assert house.customs("paused") == [{"paused": True}, {"paused": False}]


def test_a_paused_turn_is_stopped_before_its_next_call(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        held = Held()
        house.use(Registry([held]))
        reply = say.reply(say.call("c", "held"), stop="tool_use")
        hold = asyncio.Event()
        turn, task = house.begin("go", [*reply[:2], hold.wait, *reply[2:]])
        await wait_until(lambda: house.model.requests)
        _ask(house, "pause")
        await wait_until(lambda: house.customs("paused"))
        hold.set()
        await wait_until(lambda: house.customs("tool.queued"))
        _ask(house, "stop")
        await task
        _expect_stopped(house, turn)
        assert held.runs == 0

    _run(test())
    assert house.results()["c"]["content"][0]["text"] == "Not executed: stopped by the user."


# Steer


def test_what_is_steered_while_paused_goes_along_when_it_goes_on(
    house: Any, say: Any, wait_until: Any
) -> None:
    async def test() -> None:
        held = Held()
        house.use(Registry([held]))
        reply = say.reply(say.call("c", "held"), stop="tool_use")
        _, task = house.begin("go", reply, say.reply(say.text("done")))
        await wait_until(lambda: held.runs)
        _ask(house, "pause")
        held.go.set()
        await wait_until(house.results)
        _ask(house, "steer", "rather left")
        _ask(house, "resume")
        await task

    _run(test())
    assert len(house.model.requests) == 2
    last = house.model.requests[1]["messages"][-1]["content"]
    assert [block["type"] for block in last] == ["tool_result", "text"]
    assert last[1]["text"] == "rather left"


def test_what_is_steered_while_it_waits_to_ask_again_goes_along(
    house: Any, say: Any, wait_until: Any
) -> None:
    async def test() -> None:
        fault = Fault("overloaded_error", "too much to do", passing=True, retry_after=0.2)
        _, task = house.begin("go", [fault], say.reply(say.text("done")))
        await wait_until(lambda: house.customs("retry"))
        _ask(house, "steer", "rather left")
        await task

    _run(test())
    assert [block["text"] for block in house.model.requests[-1]["messages"][-1]["content"]] == [
        "go",
        "rather left",
    ]


def test_what_is_steered_before_a_limit_stands_in_the_conversation(house: Any, wait_until: Any) -> None:
    """The reply that never began had a place in it, which is free again."""

    async def test() -> None:
        house.toggles["max_requests_per_turn"] = 1
        fault = Fault("overloaded_error", "too much to do", passing=True, retry_after=0.2)
        turn, task = house.begin("go", [fault])
        await wait_until(lambda: house.customs("retry"))
        _ask(house, "steer", "rather left")
        await task
        assert house.journal.turn(turn.id).state == "limited"

    _run(test())
    assert _texts(house)[:2] == ["go", "rather left"]
    assert house.problems() == []


def test_what_is_steered_once_the_work_is_done_is_answered_behind_it(
    house: Any, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last moment but one: the reply is not on disk yet when the turn goes on."""
    run, late = Conversation.run, False

    async def then_steer(conversation: Conversation) -> str:
        nonlocal late
        reason = await run(conversation)
        if not late:
            late = True
            conversation._wishes.steer([{"type": "text", "text": "rather left"}])
        return reason

    monkeypatch.setattr(Conversation, "run", then_steer)
    _run(house.turn("go", say.reply(say.text("bye")), say.reply(say.text("to the left"))))
    assert _texts(house) == ["go", "bye", "rather left", "to the left"]
    assert [message["role"] for message in house.model.messages(1)] == ["user", "assistant", "user"]


@pytest.mark.parametrize("payload", [{}, {"input": 5}, {"input": " "}, {"input": [{"type": "image"}]}, [1]])
@pytest.mark.parametrize("stopped", [False, True])
def test_what_is_asked_in_words_of_another_release_changes_nothing(
    house: Any, say: Any, wait_until: Any, payload: Any, stopped: bool
) -> None:
    async def test() -> None:
        go = asyncio.Event()
        turn, task = house.begin("go", [go.wait, *say.reply(say.text("done"))])
        await wait_until(lambda: house.model.requests)
        for kind in ("steer", "dance", *(["stop"] if stopped else [])):
            assert house.journal.request_control(house.session, kind, payload)
        go.set()
        await task
        assert house.journal.turn(turn.id).state == ("stopped" if stopped else "done")

    _run(test())
    assert house.problems() == []
    assert _texts(house)[1:] == [_STOPPED if stopped else "done"]


def test_a_hundred_controls_at_once_are_obeyed_in_their_order(house: Any, say: Any, wait_until: Any) -> None:
    async def test() -> None:
        go = asyncio.Event()
        _, task = house.begin("go", [go.wait, *say.reply(say.text("done"))], say.reply(say.text("well")))
        await wait_until(lambda: house.model.requests)

        async def ask(kind: str, text: str = "") -> None:
            payload = {"input": text} if text else {}
            await house.journal.submit(lambda: house.journal.request_control(house.session, kind, payload))

        asked = [("pause",), ("steer", "left"), ("resume",), ("steer", "right")] * 25
        await asyncio.gather(*(ask(*each) for each in asked))
        go.set()
        await task

    _run(test())
    assert len(house.model.requests) == 2
    assert [block["text"] for block in house.model.messages(1)[-1]["content"]] == ["left", "right"] * 25
    assert house.customs("paused") == [{"paused": True}, {"paused": False}] * 25


def test_what_was_steered_before_a_stop_stands_in_the_conversation(
    house: Any, say: Any, wait_until: Any
) -> None:
    async def test() -> None:
        turn, task = house.begin("go", [_forever])
        await wait_until(lambda: house.model.requests)
        _ask(house, "steer", "rather left")
        _ask(house, "stop")
        await task
        _expect_stopped(house, turn)
        await house.turn("go on", say.reply(say.text("to the left")))

    _run(test())
    assert "rather left" in _texts(house)
    assert "rather left" in [event.data.get("delta") for event in house.events]


def test_what_is_steered_while_a_stopped_turn_is_closed_stands_there_too(
    house: Any, wait_until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last moment: the turn has looked for more, and goes to close itself."""
    flush, late = Recorder.flush, False

    async def then_steer(recorder: Recorder) -> None:
        nonlocal late
        await flush(recorder)
        if not late and "This turn was interrupted" in "".join(_texts(house)):
            late = True
            _ask(house, "steer", "rather left")

    monkeypatch.setattr(Recorder, "flush", then_steer)

    async def test() -> None:
        turn, task = house.begin("go", [_forever])
        await wait_until(lambda: house.model.requests)
        _ask(house, "stop")
        await task
        _expect_stopped(house, turn)

    _run(test())
    assert late
    assert _texts(house)[-1] == "rather left"
    assert "rather left" in [event.data.get("delta") for event in house.events]
