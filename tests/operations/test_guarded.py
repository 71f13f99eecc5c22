"""Programs of the user's that behave badly."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dcops.operations import guarded
from dcops.operations.guarded import run_guarded

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


class Program:
    """A shell script, and what it said."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.lines: list[str] = []

    def run(self, text: str, *, seconds: float = 20.0) -> int | None:
        file = self.directory / "program"
        file.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
        return run_guarded(
            [str(file)], {"PATH": os.environ["PATH"]}, self.directory, seconds, self.lines.append
        )

    def pid(self) -> int:
        return int((self.directory / "pid").read_text())


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


def lives(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_its_lines_come_while_it_runs_and_its_code_at_the_end(program: Program) -> None:
    go = program.directory / "go"

    def heard(line: str) -> None:
        program.lines.append(line)
        go.touch()

    file = program.directory / "program"
    file.write_text("#!/bin/sh\necho one\nwhile ! test -e go; do sleep 0.01; done\necho two >&2\nexit 7\n")
    file.chmod(0o755)
    code = run_guarded([str(file)], {"PATH": os.environ["PATH"]}, program.directory, 20, heard)
    assert (code, program.lines) == (7, ["one", "two"])


def test_it_has_no_stdin_and_only_the_variables_that_it_is_given(program: Program) -> None:
    assert program.run("cat; env | cut -d= -f1 | sort | tr '\\n' ' '; kill -9 $$") == 137
    assert set(program.lines[0].split()) <= {"PATH", "PWD", "SHLVL", "_", "OLDPWD", "LC_CTYPE"}


def test_what_cannot_be_run_is_told(program: Program) -> None:
    assert program.run("#!/no/such/shell\n") == 126
    assert "cannot be run" in program.lines[0]


@pytest.mark.slow
def test_one_that_hangs_is_ended_with_all_that_it_started(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "LOOK_SECONDS", 0.05)
    began = time.monotonic()
    assert (
        program.run("trap '' TERM\n(trap '' TERM; echo $$ >pid; sleep 60) &\nwait; sleep 60", seconds=0.5)
        is None
    )
    assert time.monotonic() - began < 10
    until(lambda: not lives(program.pid()))


def test_what_it_leaves_in_its_group_ends_with_it(program: Program) -> None:
    assert program.run("sleep 60 & echo $! >pid") == 0
    until(lambda: not lives(program.pid()))


@pytest.mark.slow
def test_a_daemon_that_it_forks_is_waited_for_by_nobody(program: Program) -> None:
    """It has the output open and a group of its own."""
    began = time.monotonic()
    try:
        assert (
            program.run(
                "setsid sh -c 'echo $$ >pid; exec sleep 60' &\nwhile ! test -s pid; do :; done; echo out"
            )
            == 0
        )
        assert program.lines == ["out"]
        assert time.monotonic() - began < 5
    finally:
        os.kill(program.pid(), signal.SIGKILL)


def test_binary_is_shown_as_harmless_text(program: Program) -> None:
    assert program.run("printf '\\033[31mred\\033[0m\\r\\n\\007\\377\\000a\\tb\\nlast'") == 0
    assert program.lines == ["red", "\ufffd\ufffd\ufffda\tb", "last"]


def test_a_line_without_an_end_is_cut(program: Program) -> None:
    assert program.run("head -c 3000000 /dev/zero | tr '\\0' x; echo; echo after") == 0
    assert [line[:5] for line in program.lines] == ["xxxxx", "after"]
    assert len(program.lines[0]) < 3 * guarded.LONGEST_LINE


@pytest.mark.slow
def test_a_signal_ends_it_also_where_the_operation_goes_on(program: Program) -> None:
    got: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: got.append(number))
    try:
        timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
        timer.start()
        assert program.run("sleep 60") is None
        assert got == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.slow
def test_it_ends_with_dcops_when_that_is_killed(program: Program) -> None:
    file = program.directory / "program"
    file.write_text("#!/bin/sh\nsleep 60 &\necho $! >pid\nwait\n")
    file.chmod(0o755)
    code = (
        "import os, pathlib, sys; from dcops.operations.guarded import run_guarded; "
        "run_guarded([sys.argv[1]], dict(os.environ), pathlib.Path(sys.argv[2]), 60, print)"
    )
    words = [sys.executable, "-c", code, str(file), str(program.directory)]
    parent = subprocess.Popen(words, cwd=ROOT)
    until(lambda: (program.directory / "pid").exists() and bool((program.directory / "pid").read_text()))
    assert lives(program.pid())
    parent.kill()
    parent.wait()
    until(lambda: not lives(program.pid()))
