"""What a killed instance leaves is closed by another one, once, and goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent import events
from dcops.agent.journal.journal import Journal
from dcops.agent.model.history import Outcome
from dcops.agent.turn.recovery import recover
from dcops.scripted_model.validator import validate

if TYPE_CHECKING:
    from pathlib import Path

RUN = """
import asyncio, json, pathlib, sys
from contextlib import asynccontextmanager
from dcops.agent.model.catalogue import Catalogue
from dcops.agent.journal.journal import Journal
from dcops.agent.loop import TurnRunner
from dcops.agent.tools.registry import default_registry

class Model:
    catalogue = Catalogue(lambda name: asyncio.sleep(0, {}))
    @asynccontextmanager
    async def stream(self, request, stall):
        async def play():
            for event in json.loads(sys.argv[3]):
                yield event
            print("said", flush=True)
            await asyncio.Event().wait()
        yield play()

async def main():
    folder = pathlib.Path(sys.argv[1])
    journal = Journal.open(folder / "state", "victim")
    runner = TurnRunner(journal, Model(), default_registry(), folder)
    await runner.start(journal.start_turn(sys.argv[2], "go"), json.loads(sys.argv[4]))

asyncio.run(main())
"""


def _told(journal: Journal, session: str) -> list[str]:
    return [
        event.data["name"] if event.type == "CUSTOM" else event.type for _, event in journal.events(session)
    ]


@pytest.mark.slow
def test_a_killed_instances_turn_is_closed_with_what_is_known(tmp_path: Path, house: Any, say: Any) -> None:
    journal, session = house.journal, house.session
    story = say.reply(
        say.thinking("hm"),
        say.call("done", "files", command="view", path="."),
        say.call("runs", "bash", command=f"touch {tmp_path}/began; sleep 30"),
        say.text("cut here"),
    )[:-4]
    arguments = [str(tmp_path), session, json.dumps(story), json.dumps(house.toggles)]
    victim = subprocess.Popen([sys.executable, "-c", RUN, *arguments], stdout=subprocess.PIPE, env=os.environ)
    assert victim.stdout
    try:
        assert b"said\n" in victim.stdout
        while (
            not (tmp_path / "began").exists() or not journal.calls(journal.running_turns()[0])["done"].result
        ):
            assert victim.poll() is None
        assert recover(journal) == []  # it lives
    finally:
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        victim.stdout.close()
    (turn,) = recover(journal)
    assert recover(journal) == []
    ended = journal.turn(turn.id)
    assert ended
    assert ended.state == "interrupted"
    results = {
        block["tool_use_id"]: block for block in house.messages[-1]["content"] if "tool_use_id" in block
    }
    assert "is_error" not in results["done"]
    assert results["runs"]["content"][0]["text"].startswith(
        "Interrupted while running: the instance that ran"
    )
    assert house.problems() == []
    told = _told(journal, session)
    assert told[-3:] == ["TOOL_CALL_RESULT", "turn.interrupted", "RUN_ERROR"]
    assert told.count("TOOL_CALL_RESULT") == 2


def _dead(folder: Path) -> Journal:
    """A journal whose owner is gone as far as others can tell."""
    journal = Journal.open(folder / "state", "dead")
    journal._owners.close()
    return journal


@pytest.mark.parametrize("calls", [0, 1, 2])
def test_two_journals_are_repaired_alike(tmp_path: Path, calls: int) -> None:
    """The repair depends on nothing but what was written, so that prompts stay the same bytes."""
    histories = []
    for name in ("a", "b"):
        dead = _dead(tmp_path / name)
        session = dead.create_session()
        turn = dead.start_turn(session, "go")
        blocks: list[dict[str, Any]] = [
            {"type": "thinking", "thinking": "cut", "signature": ""},
            {"type": "text", "text": "well"},
            *({"type": "tool_use", "id": f"c{n}", "name": "bash", "input": {}} for n in range(calls)),
        ]
        dead.put_message(turn, 2, {"role": "assistant", "content": blocks})
        if calls:
            dead.record_call_started(turn, "c0", "bash", {})
            dead.record_call_result(turn, "c0", {"content": "zero", "is_error": False})
        other = Journal.open(tmp_path / name / "state", "other")
        assert [found.id for found in recover(other)] == [turn.id]
        histories.append(other.messages(session))
        other.close()
        dead._store.close()
    assert histories[0] == histories[1]
    following = {"role": "user", "content": [{"type": "text", "text": "go on"}]}
    request = {"model": "claude-sonnet-5", "max_tokens": 9, "messages": [*histories[0], following]}
    assert validate(request) == []
    told = [block.get("content", [{}])[0].get("text") for block in histories[0][-1]["content"]]
    assert told[:calls] == ["zero", "Not executed: the instance that ran it ended."][:calls]


def test_a_turn_that_had_not_begun_to_answer_is_closed(tmp_path: Path) -> None:
    dead = _dead(tmp_path)
    session = dead.create_session()
    dead.start_turn(session, "go")
    other = Journal.open(tmp_path / "state", "other")
    recover(other)
    assert [message["role"] for message in other.messages(session)] == ["user", "user"]
    assert other.session(session).running is None
    assert other.start_turn(session, "again").fresh
    other.close()
    dead._store.close()


def test_what_a_dead_instance_did_not_take_any_more_stands_in_the_conversation(tmp_path: Path) -> None:
    dead = _dead(tmp_path)
    session = dead.create_session()
    dead.start_turn(session, "go")
    for kind, asked in (("steer", {"input": "rather left"}), ("pause", {}), ("steer", {"input": "at once"})):
        assert dead.request_control(session, kind, asked)
    other = Journal.open(tmp_path / "state", "other")
    recover(other)
    said = [block["text"] for message in other.messages(session) for block in message["content"]]
    assert said == [
        "go",
        "[This turn was interrupted: the instance that ran it ended.]",
        "rather left",
        "at once",
    ]
    deltas = [event.data["delta"] for _, event in other.events(session) if "delta" in event.data]
    assert deltas == ["rather left", "at once"]
    assert _told(other, session)[-1] == "RUN_ERROR"
    other.close()
    dead._store.close()


def test_what_nobody_understands_keeps_no_turn_from_its_end(tmp_path: Path) -> None:
    dead = _dead(tmp_path)
    sessions = [dead.create_session() for _ in range(3)]
    turns = [dead.start_turn(session, "go") for session in sessions]
    dead.request_control(sessions[0], "steer", {"said": "in words of a later release"})
    dead.record_call_started(turns[1], "c", "bash", {})
    dead.record_call_result(turns[1], "c", {"of": "a later release"})
    other = Journal.open(tmp_path / "state", "other")
    with pytest.raises(ExceptionGroup) as raised:
        recover(other)
    assert [
        f"turn {turns[1].id} of session {sessions[1]}" in error.__notes__ for error in raised.value.exceptions
    ]
    assert [turn.id for turn in other.running_turns()] == [turns[1].id]
    other.close()
    dead._store.close()


def test_a_refused_call_keeps_the_answer_that_it_had(tmp_path: Path) -> None:
    """It was never started, so that only the events have its answer."""
    dead = _dead(tmp_path)
    session = dead.create_session()
    turn = dead.start_turn(session, "go")
    calls = [
        {"type": "tool_use", "id": call, "name": "bash", "input": {}} for call in ("bad", "runs", "waits")
    ]
    dead.put_message(turn, 2, {"role": "assistant", "content": calls})
    dead.append(session, turn.id, [events.tool_call_result("bad", "command is missing")])
    dead.record_call_started(turn, "runs", "bash", {})
    other = Journal.open(tmp_path / "state", "other")
    recover(other)
    results = other.messages(session)[-1]["content"][:3]
    assert [result["content"][0]["text"].split(":")[0] for result in results] == [
        "command is missing",
        "Interrupted while running",
        "Not executed",
    ]
    assert all(result["is_error"] for result in results)
    told = [event.data for _, event in other.events(session)]
    assert [data["toolCallId"] for data in told if "toolCallId" in data] == ["bad", "runs", "waits"]
    finished = [data["value"] for data in told if data.get("name") == "tool.finished"]
    assert [(value["call"], value["status"]) for value in finished] == [
        ("runs", "cancelled"),
        ("waits", "not_run"),
    ]
    other.close()
    dead._store.close()


def test_an_outcome_survives_the_journal() -> None:
    outcome = Outcome("x", is_error=True)
    assert Outcome(**asdict(outcome)) == outcome
