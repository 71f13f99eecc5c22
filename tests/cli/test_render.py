from __future__ import annotations

import io
import json
import time
from typing import TYPE_CHECKING

import click
import pytest

from dcops.cli.console import Console, ago, size, table
from dcops.cli.render.error import error_lines
from dcops.cli.render.ndjson import JsonLines
from dcops.cli.render.plain import Plain
from dcops.cli.render.plan import plan_lines
from dcops.cli.render.progress import Progress, length
from dcops.cli.render.terminal import Terminal
from dcops.core.events import OperationEvent
from dcops.errors import PreconditionMissing, UsageError

from .conftest import make_plan

if TYPE_CHECKING:
    from collections.abc import Callable

EVENTS = (
    OperationEvent("start", "started", "start the candidate"),
    OperationEvent("start", "note", "image is there"),
    OperationEvent("start", "ok", "start the candidate", seconds=6.8),
    OperationEvent("verify", "started", "run the suites"),
    OperationEvent("verify", "note", "failed smoke.ready"),
    OperationEvent("verify", "failed", "1 of 8 checks failed", seconds=90.0),
    OperationEvent("start", "undone", "stop the candidate"),
)


def play(progress: Progress) -> None:
    with progress:
        progress.expect(make_plan())
        for event in EVENTS:
            progress.emit(event)


def test_plain_lines_say_when_where_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    play(Plain(Console("never"), "dev"))
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.partition(" ")[2] for line in err.splitlines()] == [
        "dev 1/3 start started start the candidate",
        "dev 1/3 start image is there",
        "dev 1/3 start ok 6.8s start the candidate",
        "dev 2/3 verify started run the suites",
        "dev 2/3 verify failed smoke.ready",
        "dev 2/3 verify failed 90.0s 1 of 8 checks failed",
        "dev 1/3 start undone stop the candidate",
    ]


def test_plain_lines_say_the_environment_once(capsys: pytest.CaptureFixture[str]) -> None:
    with Plain(Console("never"), "dev") as progress:
        progress.emit(OperationEvent("", "note", "dev runs on process: no Docker daemon answers"))
    line = capsys.readouterr().err.rstrip()
    assert line.partition(" ")[2] == "dev runs on process: no Docker daemon answers"


def test_a_long_step_gives_signs_of_life_and_a_finished_one_none(capsys: pytest.CaptureFixture[str]) -> None:
    seen = ""

    def says(text: str) -> bool:
        nonlocal seen
        seen += capsys.readouterr().err
        return text in seen

    with Plain(Console("never"), "dev", heartbeat=0.05) as progress:
        progress.emit(OperationEvent("verify", "started"))
        until(lambda: says("verify still running"))
        progress.emit(OperationEvent("verify", "ok", seconds=0.1))
        assert progress._running is None  # what the beat tells of


def test_json_lines_are_numbered_and_carry_the_plans_id(capsys: pytest.CaptureFixture[str]) -> None:
    play(JsonLines(Console("always"), "deploy"))
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert [line["seq"] for line in lines] == list(range(1, 9))
    assert {line["op"] for line in lines} == {"deploy-1"}
    assert {line["schema"] for line in lines} == {"dcops.event/1"}
    assert lines[0]["plan"]["id"] == "deploy-1"
    assert lines[3] | {"step": "start", "state": "ok", "ms": 6800} == lines[3]


def test_a_reader_who_goes_away_does_not_stop_the_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, _text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    monkeypatch.setattr("sys.stderr", Gone())
    play(JsonLines(Console("never"), "deploy"))
    play(Plain(Console("never"), "dev"))


def test_the_terminal_keeps_a_line_for_each_end_and_the_notes_of_a_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    play(Terminal(Console("never")))
    out, err = capsys.readouterr()
    assert out == ""
    # The moving line is drawn over itself; what remains ends in a newline.
    kept = [line.rpartition("\r")[2] for line in err.split("\n")]
    assert any("[1/3]" in line and "ok" in line and "6.8s" in line for line in kept)
    assert any("[2/3]" in line and "failed" in line and "1 of 8 checks failed" in line for line in kept)
    assert any(line.endswith("failed smoke.ready") for line in kept)
    assert any("undone" in line for line in kept)


def test_the_terminal_shows_the_first_line_of_a_note(capsys: pytest.CaptureFixture[str]) -> None:
    with Terminal(Console("never")) as progress:
        progress.emit(OperationEvent("verify", "started", "run the suites"))
        progress.emit(OperationEvent("verify", "note", "failed checks.greeting: assert 1 == 2\n  + more"))
        progress.emit(OperationEvent("verify", "failed", "1 of 8 checks failed", seconds=1.0))
    err = capsys.readouterr().err
    assert "failed checks.greeting: assert 1 == 2" in err
    assert "+ more" not in err


def test_a_plan_names_changes_and_every_step_with_its_undo() -> None:
    console = Console("never")
    lines = "\n".join(plan_lines(make_plan(), console))
    for expected in (
        "deploy to ",
        "release    (none)",
        "start the candidate",
        "undo: stop",
        "smoke contract",
    ):
        assert expected in lines
    brief = "\n".join(plan_lines(make_plan(), console, brief=True))
    assert "start verify switch" in brief
    assert "undo" not in brief
    nothing = "\n".join(plan_lines(make_plan(steps=()), console))
    assert "serves already" in nothing


def test_an_error_shows_its_reason_its_log_and_its_probe() -> None:
    error = PreconditionMissing("DC-X", "it broke", why="because", do="mend it", log=["boom"], probe="503")
    lines = "\n".join(error_lines(error))
    for expected in ("DC-X", "it broke", "because", "mend it", "boom", "503"):
        assert expected in lines


def test_an_error_shows_each_fault_once() -> None:
    faults = [
        {
            "file": "a.yaml",
            "line": number,
            "path": "x",
            "message": f"is bad {number}",
            "hint": "did you mean y?",
        }
        for number in (1, 2, 3)
    ]
    error = PreconditionMissing(
        "DC-X", "a.yaml:1: x is bad 1", why="2 more: a.yaml:2, a.yaml:3", do="mend it", faults=faults
    )
    assert [click.unstyle(line) for line in error_lines(error)] == [
        "Error DC-X: a.yaml:1: x is bad 1",
        "  Also  a.yaml:2: x is bad 2 (did you mean y?)",
        "        a.yaml:3: x is bad 3 (did you mean y?)",
        "  Do    mend it",
    ]


def test_an_error_shows_faults_of_values_that_stand_in_no_file() -> None:
    faults = [{"path": name, "message": "is bad", "hint": "mend it"} for name in ("x", "y")]
    error = UsageError("DC-X", "x is bad", why="y is bad", do="mend it", faults=faults)
    assert [click.unstyle(line) for line in error_lines(error)] == [
        "Error DC-X: x is bad",
        "  Also  y is bad (mend it)",
        "  Do    mend it",
    ]


@pytest.mark.parametrize(
    ("seconds", "said"), [(41, "41s"), (125, "2m05s"), (3000, "50m"), (11520, "3h12m"), (532800, "6d04h")]
)
def test_ages(seconds: float, said: str) -> None:
    assert ago(seconds) == said


@pytest.mark.parametrize(
    ("function", "value", "said"),
    [(size, 812, "812 B"), (size, 38_200_000, "38.2 MB"), (length, 0.44, "0.4s"), (length, 124, "2m04s")],
)
def test_sizes_and_lengths(function: Callable[[float], str], value: float, said: str) -> None:
    assert function(value) == said


def test_a_table_is_aligned_whatever_its_colours() -> None:
    lines = table(["A", "B"], [["\x1b[31mlong\x1b[0m", "x"], ["s", "y"]])
    assert [line.replace("\x1b[31m", "").replace("\x1b[0m", "").replace("\x1b[2m", "") for line in lines] == [
        "A     B",
        "long  x",
        "s     y",
    ]


def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
