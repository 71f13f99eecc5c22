from __future__ import annotations

import os
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from dcops.core.verification import CheckResult, VerificationReport
from dcops.errors import NotFound, OperationFailed, UsageError
from dcops.verification.runner import run_suites

Verify = Callable[..., VerificationReport]


@pytest.fixture
def verify(fake_agent: Any, tmp_path: Path) -> Verify:
    """Runs checks, given as text, against the fake."""
    twin = fake_agent()

    def run(*files: str, **options: Any) -> VerificationReport:
        checks = tmp_path / "environments/dev/checks"
        checks.mkdir(parents=True, exist_ok=True)
        for number, text in enumerate(files):
            (checks / f"test_file{number}.py").write_text(dedent(text))
        options = {"handlers": twin, "extra_paths": [checks]} | options
        return run_suites(options.pop("target", twin.target), options.pop("suites", []), **options)

    return run


def outcomes(report: VerificationReport) -> dict[str, str]:
    return {check.id: check.outcome for check in report.checks}


def test_users_checks_run_with_the_fixtures(verify: Verify) -> None:
    report = verify(
        """
        import pytest

        def test_instance(agent, environment):
            assert environment == "dev"
            assert agent.instance()["instance"] == "twin-1"

        def test_wrong(agent):
            assert agent.instance()["running_turns"] == 3

        @pytest.mark.skip(reason="not today")
        def test_later():
            raise AssertionError
        """
    )
    assert outcomes(report) == {
        "checks.file0.instance": "passed",
        "checks.file0.wrong": "failed",
        "checks.file0.later": "skipped",
    }
    assert report.verdict == "fail"
    wrong, later = report.checks[1:]
    assert "assert 0 == 3" in wrong.message
    assert "The twin's last log lines:" in wrong.details
    assert later.message == "not today"
    assert report.rerun(wrong) == "dcops verify dev --suite checks --only file0.wrong"


@pytest.mark.parametrize(
    ("ending", "told"),
    [("os._exit(0)", "exit code 0"), ("os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV")],
)
def test_a_crash_is_inconclusive(verify: Verify, ending: str, told: str) -> None:
    report = verify(f"import os, signal\ndef test_a(): pass\ndef test_b(): {ending}\ndef test_c(): pass\n")
    assert outcomes(report) == {"checks.file0.a": "passed"}
    assert report.verdict == "inconclusive"
    assert told in report.incomplete
    assert "in checks.file0.b" in report.incomplete


def test_a_failure_before_a_crash_is_a_failure(verify: Verify) -> None:
    report = verify("import os\ndef test_a(): assert False\ndef test_b(): os._exit(1)\n")
    assert report.verdict == "fail"
    assert report.incomplete


@pytest.mark.slow
def test_a_hanging_check_is_killed_with_all_it_started(verify: Verify, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    report = verify(
        f"""
        import pathlib, subprocess, time

        def test_hangs():
            sleeper = subprocess.Popen(["sleep", "600"])
            pathlib.Path({str(note)!r}).write_text(str(sleeper.pid))
            time.sleep(600)
        """,
        time_limit=3,
    )
    assert report.verdict == "inconclusive"
    assert report.incomplete == (
        "The suites did not end within 3 s and were killed while checks.file0.hangs ran."
    )
    wait_for_end(int(note.read_text()))


def wait_for_end(pid: int) -> None:
    """A killed process may take a moment to go; one that nobody has reaped has ended, too."""
    deadline = time.monotonic() + 5
    while is_running(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_nothing_of_the_operators_environment_gets_in(
    verify: Verify, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    report = verify(
        """
        import os

        def test_environment():
            allowed = {"PATH", "HOME", "TMPDIR", "LANG", "LC_CTYPE", "PYTHONDONTWRITEBYTECODE"}
            names = {name for name in os.environ if not name.startswith(("PYTEST_", "COV"))}
            assert names <= allowed, names - allowed
        """
    )
    assert outcomes(report) == {"checks.file0.environment": "passed"}, report.checks


def test_the_project_around_changes_nothing_and_is_not_changed(verify: Verify, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("raise RuntimeError('loaded')")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    report = verify("def test_a(): pass\n")
    assert outcomes(report) == {"checks.file0.a": "passed"}
    files = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {"conftest.py", "pytest.ini", "test_file0.py"}


def test_a_file_that_cannot_be_imported_is_an_error_and_the_others_run(verify: Verify) -> None:
    report = verify("import no_such_module\n", "def test_a(): pass\n")
    assert outcomes(report) == {"checks.test_file0": "error", "checks.file1.a": "passed"}
    assert "no_such_module" in report.checks[0].message
    assert report.verdict == "inconclusive"


class Unable:
    """A twin's control that can do nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        def fail(*_: Any) -> None:
            raise OperationFailed("DC-ENGINE", f"the engine cannot {name}", cause="engine")

        return fail


def test_what_the_parent_cannot_do_is_no_fault_of_the_twin(verify: Verify) -> None:
    report = verify("def test_a(twin): twin.restart()\n", handlers=Unable())
    assert outcomes(report) == {"checks.file0.a": "error"}
    assert report.checks[0].message == "restart: the engine cannot restart"
    assert "could not be read" in report.checks[0].details
    assert report.verdict == "inconclusive"


@pytest.mark.parametrize("call", ["_ask('close')", "write_control('../current', b'')", "_ask('__init__')"])
def test_a_check_can_ask_for_nothing_else(verify: Verify, call: str) -> None:
    report = verify(f"def test_a(twin): twin.{call}\n")
    assert outcomes(report) == {"checks.file0.a": "error"}
    assert "is not offered to suites" in report.checks[0].message


def test_results_come_while_the_suites_run(verify: Verify) -> None:
    seen: list[CheckResult] = []
    at_logs: list[list[str]] = []

    class Control(Unable):
        def logs(self, _lines: int) -> list[str]:
            at_logs.append([result.id for result in seen])
            return ["line"]

    verify(
        "def test_a(): pass\ndef test_b(twin): assert twin.logs(1) == ['line']\n",
        handlers=Control(),
        on_result=seen.append,
    )
    assert at_logs == [["checks.file0.a"]]
    assert [result.outcome for result in seen] == ["passed", "passed"]


CHOICE = """
import pytest

def test_a(): pass

@pytest.mark.parametrize("n", [1, 2])
def test_b(n): pass
"""


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        ("file0.a", ["checks.file0.a"]),
        ("checks.file0.a", ["checks.file0.a"]),
        ("file0.b", ["checks.file0.b[1]", "checks.file0.b[2]"]),
        ("file0.b[2]", ["checks.file0.b[2]"]),
    ],
)
def test_only(verify: Verify, only: str, expected: list[str]) -> None:
    assert list(outcomes(verify(CHOICE, only=[only]))) == expected


def test_an_unknown_check_is_not_found(verify: Verify) -> None:
    with pytest.raises(NotFound) as caught:
        verify(CHOICE, only=["file0.a", "nothing"])
    assert "'nothing'" in caught.value.what
    assert "checks.file0.b[1]" in caught.value.why


def test_unknown_suites_and_paths_are_refused_before_anything_starts(verify: Verify) -> None:
    with pytest.raises(UsageError, match="no suite 'smok'"):
        verify(suites=["smok"])
    with pytest.raises(UsageError, match="does not exist"):
        verify(extra_paths=[Path("/no/such/checks")])


def test_junit_names_what_failed_and_what_was_lost(verify: Verify, tmp_path: Path) -> None:
    file = tmp_path / "reports/junit.xml"
    verify("import os\ndef test_a(): assert 1 == 2\ndef test_b(): os._exit(1)\n", junit=file)
    root = ET.parse(file).getroot()
    cases = {case.get("name"): [child.tag for child in case] for case in root.iter("testcase")}
    assert cases == {"file0.a": ["failure"], "run.complete".removeprefix("run."): ["error"]}
    assert [suite.get("failures") for suite in root] == ["1", "0"]


def test_an_interrupted_run_leaves_no_process(verify: Verify, tmp_path: Path) -> None:
    note = tmp_path / "pid"

    def interrupt(_result: CheckResult) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        verify(
            f"""
            import os, pathlib, time

            def test_a():
                pathlib.Path({str(note)!r}).write_text(str(os.getpid()))

            def test_b():
                time.sleep(600)
            """,
            on_result=interrupt,
        )
    wait_for_end(int(note.read_text()))


def test_suites_do_not_run_without_their_parent() -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "pytest", "-p", "dcops.verification.plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode == 4
    assert "start them with `dcops verify`" in done.stderr
