"""Runs suites in a process of their own and serves what they ask of their twin."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from dcops.core.verification import CHECKS, LIVE, SUITES, CheckResult, report
from dcops.errors import NotFound, UsageError
from dcops.files import scratch
from dcops.verification.channel import VARIABLE, Channel, Message
from dcops.verification.junit import to_junit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dcops.core.verification import OnResult, Target, TwinControl, VerificationReport

SUITES_DIRECTORY = Path(__file__).with_name("suites")
EXIT_SECONDS = 10.0
_ASKABLE = frozenset({"write_control", "restart", "kill", "logs", "script", "model_requests", "open_gate"})
_CONTROL_FILES = frozenset({"toggles.json", "role.json", "access.json"})


def run_suites(
    target: Target,
    suites: Sequence[str],
    *,
    handlers: TwinControl,
    temporary: Path | None = None,
    only: Sequence[str] = (),
    extra_paths: Sequence[Path] = (),
    time_limit: float = 600.0,
    junit: Path | None = None,
    on_result: OnResult = lambda _result: None,
) -> VerificationReport:
    """Run suites against a twin.

    Args:
        target: The twin.
        suites: ``smoke``, ``toggles``, ``streaming``, ``contract``, ``isolation``, ``live``.
        handlers: Does to the twin what the suites ask for.
        temporary: Where the process gets its directory; the system's place when absent.
        only: Checks to run, ``name`` or ``suite.name``, parametrised ones also without their parameter.
        extra_paths: Files or directories with the users' own checks; their suite is ``checks``.
        time_limit: Seconds after which the process is killed and the verdict is inconclusive.
        junit: File to write a JUnit report to.
        on_result: Called with each result as it comes.

    Returns:
        The report; a crash or a time-out makes its verdict inconclusive.

    Raises:
        UsageError: An unknown suite, or a path that does not exist.
        NotFound: No check is called what ``only`` says.
    """
    paths = [*_suite_files(suites), *_existing(extra_paths)]
    run = _Run(handlers, on_result)
    started = time.monotonic()
    with (
        scratch(temporary or Path(tempfile.gettempdir()), "verify") as place,
        _Child(paths, extra_paths, place) as child,
    ):
        child.channel.send({"target": target.to_json(), "only": list(only)})
        incomplete = run.listen(child, started + time_limit, time_limit)
    if run.unknown:
        raise NotFound(
            "DC-CHECK-UNKNOWN",
            f"There is no check {run.unknown[0]!r} in the suites that were asked for.",
            why=f"Known are: {', '.join(run.known)}.",
            do="Name one of them, or leave --only out.",
        )
    done = report(target, run.results, seconds=time.monotonic() - started, incomplete=incomplete)
    if junit:
        junit.parent.mkdir(parents=True, exist_ok=True)
        junit.write_bytes(to_junit(done))
    return done


class _Run:
    """What the suites' process has told so far."""

    def __init__(self, handlers: TwinControl, on_result: OnResult) -> None:
        self.results: list[CheckResult] = []
        self.known: list[str] = []
        self.unknown: list[str] = []
        self._handlers = handlers
        self._on_result = on_result
        self._waiting: set[str] = set()
        self._current = ""
        self._finished = False

    def listen(self, child: _Child, deadline: float, time_limit: float) -> str:
        """Follow the process to its end; returns why the run is incomplete, or nothing."""
        try:
            while (message := child.channel.receive(max(0.0, deadline - time.monotonic()))) is not None:
                if answer := self._take(message):
                    child.channel.send(answer)
        except TimeoutError:
            where = f" while {self._current} ran" if self._current else ""
            return f"The suites did not end within {time_limit:g} s and were killed{where}."
        except (OSError, ValueError) as error:
            return f"The suites' process broke its connection: {error}."
        status = child.wait()
        if self._finished and not self._waiting:
            return ""
        where = f"in {self._current}" if self._current else "before its first check"
        return f"The suites' process ended ({status}) {where}.\n{child.output()}".rstrip()

    def _take(self, message: Message) -> Message | None:
        match message:
            case {"ask": str(method), "arguments": list(arguments)}:
                return self._answer(method, arguments)
            case {"collected": list(checks), "known": known, "unknown": unknown}:
                self._waiting, self.known, self.unknown = set(checks), known, unknown
            case {"started": str(check)}:
                self._current = check
            case {"result": dict(fields)}:
                result = CheckResult(**fields)
                self._waiting.discard(result.id)
                self.results.append(result)
                self._on_result(result)
            case {"finished": True}:
                self._finished = True
            case _:
                raise ValueError(f"unexpected message {str(message)[:200]}")
        return None

    def _answer(self, method: str, arguments: list[Any]) -> Message:
        # The suites may hold code of users: they can ask for what TwinControl offers, and nothing else.
        if method not in _ASKABLE or (method == "write_control" and arguments[0] not in _CONTROL_FILES):
            return {"error": f"{method} is not offered to suites"}
        if method == "write_control":
            arguments = [arguments[0], arguments[1].encode("latin-1")]
        try:
            return {"answer": getattr(self._handlers, method)(*arguments)}
        except Exception as error:
            return {"error": f"{method}: {error or type(error).__name__}"}


class _Child:
    """The suites' process: its own process group, a clean environment, and a directory of its own."""

    def __init__(self, paths: Sequence[Path], extra_paths: Sequence[Path], place: Path) -> None:
        (place / "pytest.ini").write_text("[pytest]\n")
        self._output = place / "output"
        mine, its = socket.socketpair()
        self.channel = Channel(mine)
        self._socket = mine
        with its, self._output.open("wb") as output:
            self._process = subprocess.Popen(
                _command(paths, extra_paths, place),
                cwd=place,
                env=_variables(place, its.fileno()),
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        # Checks may have left processes of their own behind, also when pytest itself has ended.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self) -> str:
        """How it ended, for people; one that closed its socket and stays is given a moment."""
        try:
            code = self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            return "it did not exit"
        return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"

    def output(self, lines: int = 20) -> str:
        """The last lines that it wrote."""
        return "\n".join(self._output.read_text(errors="replace").splitlines()[-lines:])


def check_suites(suites: Sequence[str]) -> None:
    """Refuse suites that do not exist.

    Raises:
        UsageError: There is none of that name.
    """
    known = (*SUITES, LIVE)
    for suite in suites:
        if suite not in (*known, CHECKS):
            raise UsageError(
                "DC-SUITE-UNKNOWN", f"There is no suite {suite!r}.", do=f"Use one of {', '.join(known)}."
            )


def _suite_files(suites: Sequence[str]) -> list[Path]:
    check_suites(suites)
    return [SUITES_DIRECTORY / f"{suite}.py" for suite in (*SUITES, LIVE) if suite in suites]


def _existing(paths: Sequence[Path]) -> list[Path]:
    for path in paths:
        if not path.exists():
            raise UsageError("DC-CHECKS-MISSING", f"{path} does not exist.", do="Name a file or directory.")
    return [path.resolve() for path in paths]


def _command(paths: Sequence[Path], extra_paths: Sequence[Path], place: Path) -> list[str]:
    # Configuration and conftest.py of the project around must not change what the suites mean.
    border = extra_paths[0].resolve() if extra_paths else SUITES_DIRECTORY
    options = [
        *("-p", "dcops.verification.plugin", "-p", "dcops.verification.fixtures", "-p", "no:cacheprovider"),
        *("-c", str(place / "pytest.ini"), "--rootdir", str(place), "--import-mode=importlib"),
        *("--confcutdir", str(border if border.is_dir() else border.parent), "--tb=short", "-q"),
        "--continue-on-collection-errors",
    ]
    return [sys.executable, "-P", "-m", "pytest", *options, *map(str, paths)]


def _variables(place: Path, descriptor: int) -> dict[str, str]:
    # Nothing of the operator's environment: it may hold the API key, and options for pytest.
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(place),
        "TMPDIR": str(place),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        VARIABLE: str(descriptor),
    }
