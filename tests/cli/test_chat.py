from __future__ import annotations

import json
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from dcops.cli.console import Console
from dcops.cli.render.chat import TextView, printable

from .conftest import FINISHED, Agent, Dcops, command, custom, text, tool, variables

if TYPE_CHECKING:
    from pathlib import Path


def test_lines_of_a_tool_arrive_in_a_pipe_as_they_come(project: Path, agent: Agent) -> None:
    agent.turn(*tool("c1", "bash", '{"command": "loop"}'))
    with subprocess.Popen(
        command("chat", "dev", "go"),
        cwd=project,
        env=variables(project),
        # Nobody writes to it and nobody closes it: a chat that read stdin would never end.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        for number in (1, 2, 3):
            # The next line is only sent when the one before has come out.
            agent.events.put(custom("tool.output", call="c1", text=f"line {number}\n"))
            assert process.stdout.readline() == f"line {number}\n"
        agent.events.put(custom("tool.finished", call="c1", status="done", exit_code=0, elapsed_ms=3000))
        agent.events.put(FINISHED)
        assert process.wait(10) == 0
        assert process.stderr is not None
        talk = process.stderr.read()
    assert "bash started  loop" in talk
    assert "bash finished  done 3.0s" in talk


def test_the_answer_is_data_and_what_is_done_is_talk(dcops: Dcops, agent: Agent) -> None:
    thinking = [
        {"type": "REASONING_START", "messageId": "r"},
        {"type": "REASONING_MESSAGE_CONTENT", "messageId": "r", "delta": "hm"},
        {"type": "REASONING_END", "messageId": "r"},
    ]
    agent.turn(*thinking, text("It is "), text("done."), {"type": "TEXT_MESSAGE_END"}, ending=FINISHED)
    done = dcops("chat", "dev", "why?")
    assert done.returncode == 0
    assert done.stdout == "It is done.\n"
    assert "thinking" in done.stderr
    assert "hm" in done.stderr


def test_what_becomes_of_a_fault_of_the_model_is_talk(dcops: Dcops, agent: Agent) -> None:
    cut = custom("reply.cut", reason="Overloaded")
    again = custom("retry", attempt=1, reason="Overloaded (overloaded_error)", seconds=0.2)
    agent.turn(text("It is "), cut, again, text("done."), ending=FINISHED)
    done = dcops("chat", "dev", "why?")
    assert done.stdout == "It is done.\n"
    assert "the reply was cut: Overloaded\n" in done.stderr
    assert "retry 1 in 0.2s: Overloaded (overloaded_error)" in done.stderr


def test_a_failed_turn_is_exit_6_and_says_why(dcops: Dcops, agent: Agent) -> None:
    agent.turn(ending={"type": "RUN_ERROR", "message": "the model is overloaded", "code": "overloaded"})
    done = dcops("chat", "dev", "hi")
    assert done.returncode == 6
    assert "DC-TURN-FAILED" in done.stderr
    assert "the model is overloaded" in done.stderr
    assert "dcops chat dev MESSAGE --session s1" in done.stderr


def test_json_is_the_events_and_then_the_result(dcops: Dcops, agent: Agent) -> None:
    agent.turn(text("hi"), ending=FINISHED)
    lines = [json.loads(line) for line in dcops("chat", "dev", "hi", "--json").stdout.splitlines()]
    assert [line["type"] for line in lines] == [
        "RUN_STARTED",
        "TEXT_MESSAGE_CONTENT",
        "RUN_FINISHED",
        "result",
    ]
    assert [line.get("seq") for line in lines] == [1, 2, 3, None]
    assert lines[-1] | {"schema": "dcops.chat/1", "result": "ok", "session": "s1"} == lines[-1]
    agent.turn(ending={"type": "RUN_ERROR", "message": "no", "code": "x"})
    last = json.loads(dcops("chat", "dev", "hi", "--json").stdout.splitlines()[-1])
    assert (last["schema"], last["type"], last["exit_code"]) == ("dcops.error/1", "result", 6)


def test_ctrl_c_stops_the_turn_and_waits_for_its_end(project: Path, agent: Agent) -> None:
    agent.turn(text("working\n"))
    with subprocess.Popen(
        command("chat", "dev", "go"),
        cwd=project,
        env=variables(project),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert "POST /v1/sessions/s1/stop" in agent.asked


def test_a_turn_begins_also_while_the_instance_changes(dcops: Dcops, agent: Agent) -> None:
    agent.refusals = [503, 502]
    agent.turn(text("here\n"), ending=FINISHED)
    assert dcops("chat", "dev", "hi", "--session", "s1").stdout == "here\n"
    assert agent.asked.count("POST /v1/sessions/s1/turns") == 3
    assert "POST /v1/sessions" not in agent.asked


def test_events_of_an_earlier_turn_are_not_shown(dcops: Dcops, agent: Agent) -> None:
    agent.events.put(text("old"))
    agent.events.put(FINISHED | {"runId": "t0"})
    agent.turn(text("new\n"), ending=FINISHED)
    assert dcops("chat", "dev", "hi").stdout == "new\n"


def test_what_cannot_be_a_name_is_the_message(dcops: Dcops, agent: Agent) -> None:
    agent.turn(text("ok\n"), ending=FINISHED)
    assert dcops("chat", "run: date").stdout == "ok\n"


def test_without_message_and_terminal_it_says_so(dcops: Dcops, agent: Agent) -> None:
    done = dcops("chat", "dev")
    assert done.returncode == 2
    assert "DC-NO-MESSAGE" in done.stderr
    assert agent.asked == []


def test_an_empty_message_begins_no_session(dcops: Dcops, agent: Agent) -> None:
    done = dcops("chat", "dev", " ")
    assert done.returncode == 2
    assert "DC-NO-MESSAGE" in done.stderr
    assert agent.asked == []


def test_without_a_deployment_it_says_what_to_do(dcops: Dcops) -> None:
    done = dcops("chat", "dev", "hi")
    assert done.returncode == 6
    assert "dcops deploy dev" in done.stderr


def views(capsys: pytest.CaptureFixture[str], *events: dict[str, Any]) -> tuple[str, str]:
    """What goes to stdout, and what to stderr."""
    shown = TextView(Console("never"))
    for number, event in enumerate(events):
        shown.show(number, event)
    shown.end()
    out, err = capsys.readouterr()
    return out, err


def view(capsys: pytest.CaptureFixture[str], *events: dict[str, Any]) -> str:
    return views(capsys, *events)[0]


def test_a_call_that_did_not_run_is_talk_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = views(
        capsys,
        *tool("a", "bash", "{")[:3],
        custom("tool.finished", call="a", status="not_run", exit_code=None, elapsed_ms=0),
        {"type": "TOOL_CALL_RESULT", "toolCallId": "a", "content": "Not executed: no JSON."},
    )
    assert out == ""
    assert [line[2:] for line in err.splitlines()] == ["bash  Not executed: no JSON."]


def test_progress_of_a_long_tool_is_said_in_steps(capsys: pytest.CaptureFixture[str]) -> None:
    _, err = views(
        capsys,
        *tool("a", "count", '{"path": "x", "most": 3}'),
        custom("tool.progress", call="a", percent=12.4, eta=30.0),
        custom("tool.progress", call="a", percent=13.0, eta=29.6),
        custom("tool.progress", call="a", percent=40.0, eta=None),
        custom("tool.progress", call="a", percent=50.0, eta=14.8),
        custom("tool.progress", call="a", percent=99.0, eta=0.2),
    )
    assert [line[2:] for line in err.splitlines()] == [
        "count started  x (most=3)",
        "count 12%, about 30s left",
        "count 50%, about 15s left",
    ]


def test_what_the_user_adds_is_not_taken_for_the_answer(capsys: pytest.CaptureFixture[str]) -> None:
    out, err = views(
        capsys,
        {"type": "TEXT_MESSAGE_START", "messageId": "m2", "role": "user"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m2", "delta": "be quick"},
        {"type": "TEXT_MESSAGE_END", "messageId": "m2"},
        text("Yes."),
    )
    assert out == "Yes.\n"
    assert "you: be quick" in err


@pytest.mark.parametrize(
    ("reason", "said"),
    [("refusal", "refused"), ("tool_use", "next message"), ("end_turn", ""), ("max_requests", "")],
)
def test_an_unusual_end_is_said(capsys: pytest.CaptureFixture[str], reason: str, said: str) -> None:
    _, err = views(capsys, FINISHED | {"result": {"stop_reason": reason}})
    assert (said in err) if said else (err == "")


def test_tools_side_by_side_do_not_mix_their_lines(capsys: pytest.CaptureFixture[str]) -> None:
    out = view(
        capsys,
        *tool("a", "bash", "{}"),
        *tool("b", "bash", "{}"),
        custom("tool.output", call="a", text="one "),
        custom("tool.output", call="b", text="other\nmore"),
        custom("tool.output", call="a", text="line\n"),
        custom("tool.finished", call="a", status="done", exit_code=0, elapsed_ms=1),
    )
    assert out == "other\none line\nmore\n"


def test_output_begins_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    out = view(capsys, text("I run it:"), custom("tool.output", call="a", text="x\n"), text("so"))
    assert out == "I run it:\nx\nso\n"


def test_interactive_turns_share_a_session(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], agent: Agent, project: Path
) -> None:
    from dcops.cli.main import run

    lines = iter(["first", "", "second"])

    def ask(_prompt: str) -> str:
        try:
            line = next(lines)
        except StopIteration:
            raise EOFError from None
        if line:
            agent.turn(text(f"to {line}\n"), ending=FINISHED)
        return line

    monkeypatch.setattr("builtins.input", ask)
    monkeypatch.setattr(Console, "interactive", property(lambda _self: True))
    assert run(["chat", "dev", "--project", str(project)]) == 0
    assert capsys.readouterr().out == "to first\nto second\n"
    assert agent.asked.count("POST /v1/sessions") == 1


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
        ("\x1b]52;c;ZXZpbA==\x07safe", "safe"),
        ("\x1b[2J\x1b[Hsafe", "safe"),
        ("a\x08b\x1bc", "abc"),
    ],
)
def test_a_terminal_is_only_ever_told_colours(raw: str, shown: str) -> None:
    assert printable(raw) == shown
