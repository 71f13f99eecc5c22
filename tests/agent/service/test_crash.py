"""kill -9 of a real agent, with turns at every point that a turn can be at: each is closed honestly, once."""

import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import httpx2
import pytest

from dcops.agent.journal.journal import Journal
from dcops.agent.journal.records import Turn
from dcops.scripted_model.validator import validate

pytestmark = pytest.mark.slow  # a real instance imports the SDK first

THINKING = {"type": "thinking", "thinking": "Let me see."}
WORDS = {"type": "text", "text": "Well, let us see what there is to be done about it."}
MAY_HAVE = "Interrupted while running: the instance that ran it ended. Its effects may have happened."
NOT = "Not executed: the instance that ran it ended."


def bash(call: str, command: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call, "name": "bash", "input": {"command": command}}


def held(*content: dict[str, Any], after: int) -> dict[str, Any]:
    """A reply that comes no further than a number of events; each block is one piece."""
    told = {"content": list(content), "stop_reason": "end_turn", "chunk": 1000}
    return {**told, "stall_after": after, "gate": secrets.token_hex(4)}


def whole(*content: dict[str, Any]) -> dict[str, Any]:
    return {"content": list(content), "stop_reason": "tool_use"}


@dataclass
class Point:
    """Where a turn is when its instance is killed.

    Attributes:
        replies: What the model says until then; `RAN` in a command is a file that tells how often it ran.
        reached: The event that tells it, by its type or name.
        requests: How many requests the model has had then.
        paused: Whether the turn is paused as soon as its first call runs.
        fates: How what the model is told of each call begins.
        ran: How often the command ran.
    """

    replies: list[dict[str, Any]]
    reached: str = "RUN_STARTED"
    requests: int = 1
    paused: bool = False
    fates: dict[str, str] = field(default_factory=dict)
    ran: int = 0


COUNT = "echo $$ >> RAN"
POINTS = {
    "before the first byte": Point([held(WORDS, after=0)]),
    "in a text": Point([held(WORDS, after=4)], "TEXT_MESSAGE_CONTENT"),
    "in thinking": Point([held(THINKING, WORDS, after=4)], "REASONING_MESSAGE_CONTENT"),
    "in the words of a call": Point([held(WORDS, bash("cut", COUNT), after=8)], "TOOL_CALL_START", fates={}),
    "between a call's end and its confirmation": Point(
        [held(bash("sealed", COUNT), after=6)], "TOOL_CALL_END", fates={"sealed": NOT}
    ),
    "in a tool, with another one waiting": Point(
        [whole(THINKING, bash("runs", f"{COUNT}; echo begun; sleep 300"), bash("waits", COUNT))],
        "tool.output",
        fates={"runs": MAY_HAVE, "waits": NOT},
        ran=1,
    ),
    "in a tool while the model writes on": Point(
        [held(bash("early", f"{COUNT}; echo begun; sleep 300"), WORDS, after=8)],
        "tool.output",
        fates={"early": MAY_HAVE},
        ran=1,
    ),
    "between a result and the next request": Point(
        [whole(bash("done", f"{COUNT}; until [ -e RAN.go ]; do sleep 0.02; done; echo over"))],
        "TOOL_CALL_RESULT",
        paused=True,
        fates={"done": "over"},
        ran=1,
    ),
    "in the reply to a result": Point(
        [whole(bash("done", f"{COUNT}; echo over")), held(WORDS, after=4)],
        "TEXT_MESSAGE_CONTENT",
        requests=2,
        fates={"done": "over"},
        ran=1,
    ),
    "in the wait before another attempt": Point(
        [{"error": {"status": 529, "headers": {"retry-after": "50"}}}], "retry"
    ),
}


@dataclass
class Run:
    """A turn that was brought to its point."""

    point: Point
    session: str
    turn: str
    key: str
    ran: Path

    def started(self) -> list[int]:
        """The process ids of the shells that ran its command."""
        return [int(line) for line in self.ran.read_text().split()] if self.ran.exists() else []


@contextmanager
def journal_of(agent: Any) -> Iterator[Journal]:
    journal = Journal.open(agent.state, "watcher")
    yield journal
    journal.close()


def asked(agent: Any) -> int:
    """How many requests the model had from the agent since its script was set."""
    caller = hashlib.sha256(agent.key.encode()).hexdigest()
    return len(
        httpx2.get(f"{agent.model.url}/scripts/{caller}/requests").raise_for_status().json()["requests"]
    )


def told(journal: Journal, session: str) -> list[str]:
    events = [event for _, event in journal.events(session)]
    return [event.data["name"] if event.type == "CUSTOM" else event.type for event in events]


def bring(agent: Any, journal: Journal, *points: Point) -> list[Run]:
    """Start a turn for each point, and wait until it is there."""
    files = [agent.workspace / f"ran-{number}" for number, _ in enumerate(points)]
    replies = [_with_path(point.replies, ran) for point, ran in zip(points, files, strict=True)]
    # In one script: another one lets go of what the first one holds.
    agent.model.script(agent.key, {"replies": list(chain(*replies)), "after": "error"})
    runs: list[Run] = []
    for point, ran in zip(points, files, strict=True):
        session, key = agent.session(), secrets.token_hex(8)
        runs.append(Run(point, session, agent.turn(session, "go", **{"Idempotency-Key": key}), key, ran))
        if point.paused:
            agent.until(lambda: "tool.started" in told(journal, runs[-1].session))
            agent.http.post(f"/v1/sessions/{session}/pause").raise_for_status()
            agent.until(lambda: "paused" in told(journal, runs[-1].session))
            Path(f"{ran}.go").touch()
        wanted = sum(run.point.requests for run in runs)
        agent.until(lambda: _is_there(journal, runs[-1]) and asked(agent) == wanted)  # noqa: B023
    return runs


def _is_there(journal: Journal, run: Run) -> bool:
    return run.point.reached in told(journal, run.session) and len(run.started()) == run.point.ran


def _with_path(script: Any, ran: Path) -> Any:
    match script:
        case dict():
            return {name: _with_path(value, ran) for name, value in script.items()}
        case list():
            return [_with_path(value, ran) for value in script]
        case str():
            return script.replace("RAN", str(ran))
    return script


def fates(journal: Journal, session: str) -> dict[str, str]:
    """What the model is told of each call; fails where a call has two results."""
    found: dict[str, str] = {}
    for message in journal.messages(session):
        for block in message["content"]:
            if block["type"] == "tool_result":
                assert block["tool_use_id"] not in found
                found[block["tool_use_id"]] = block["content"][0]["text"]
    return found


def expect_closed(journal: Journal, run: Run) -> None:
    turn, events = journal.turn(run.turn), told(journal, run.session)
    assert isinstance(turn, Turn)
    assert turn.state == "interrupted"
    assert events[-2:] == ["turn.interrupted", "RUN_ERROR"]
    assert events.count("RUN_ERROR") == 1
    assert events.count("TOOL_CALL_RESULT") == len(run.point.fates)
    known = fates(journal, run.session)
    assert known.keys() == run.point.fates.keys()
    assert all(known[call].startswith(fate) for call, fate in run.point.fates.items())
    following = {"role": "user", "content": "go on"}
    messages = [*journal.messages(run.session), following]
    assert validate({"model": "claude-sonnet-5", "max_tokens": 100, "messages": messages}) == []


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_a_crash_closes_each_turn_with_what_is_known(make_agent: Callable[..., Any]) -> None:
    agent = make_agent().start().ready()
    with journal_of(agent) as journal:
        runs = bring(agent, journal, *POINTS.values())
        agent.process.kill()
        agent.process.wait()
        agent.until(lambda: all(gone(pid) for run in runs for pid in run.started()))
        agent.start().ready()
        agent.until(lambda: not journal.running_turns())
        for run in runs:
            expect_closed(journal, run)
        agent.model.script(agent.key, {"replies": [], "after": "assistant"})
        for run in runs:
            assert agent.turn(run.session, "go", **{"Idempotency-Key": run.key}) == run.turn
            last = journal.session(run.session).last_seq
            assert agent.run(run.session, "hello", after=last)[-1][1]["type"] == "RUN_FINISHED"
            assert len(run.started()) == run.point.ran, "nothing runs twice"


def test_two_crashes_close_a_turn_once(make_agent: Callable[..., Any]) -> None:
    """Two instances look for turns of the dead one at the same time, and one of them dies as well."""
    owner, other, third = (make_agent(name).start() for name in ("i1", "i2", "i3"))
    owner.ready()
    with journal_of(owner) as journal:
        [run] = bring(owner, journal, POINTS["in a tool, with another one waiting"])
        other.process.kill()
        owner.process.kill()
        third.ready()
        third.until(lambda: not journal.running_turns())
        expect_closed(journal, run)
        assert third.turn(run.session, "go", **{"Idempotency-Key": run.key}) == run.turn
