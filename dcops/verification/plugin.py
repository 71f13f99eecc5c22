"""The suites' process: which checks run, and how each result gets to the process that asked for them."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.core.verification import CHECKS, SUITES, CheckResult, Outcome, Target
from dcops.errors import DcopsError
from dcops.verification.channel import VARIABLE, Channel
from dcops.verification.twin import ControlError, Twin

if TYPE_CHECKING:
    from collections.abc import Generator

SUITES_DIRECTORY = Path(__file__).with_name("suites")
LOG_LINES = 20
PARENT_SECONDS = 0.5
LINK = pytest.StashKey["Link"]()
Phase = tuple[pytest.TestReport, BaseException | None]
_PHASES = pytest.StashKey[list[Phase]]()


class Link:
    """The connection to the process that started the suites, and what it said of their target."""

    def __init__(self, channel: Channel) -> None:
        brief = channel.receive()
        if brief is None:
            raise pytest.UsageError("the process that started the suites is gone")
        self.channel = channel
        self.target = Target.from_json(brief["target"])
        self.only: list[str] = brief["only"]
        self.twin = Twin(channel)


def pytest_configure(config: pytest.Config) -> None:
    if VARIABLE not in os.environ:
        raise pytest.UsageError("these checks need a twin: start them with `dcops verify`")
    for suite in (*SUITES, CHECKS):
        config.addinivalue_line("markers", f"{suite}: the checks of this suite")
    descriptor = int(os.environ.pop(VARIABLE))
    os.set_inheritable(descriptor, False)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    link = Link(Channel(socket.socket(fileno=descriptor)))
    config.stash[LINK] = link
    config.pluginmanager.register(Checks(link))


def _end_with(parent: int) -> None:
    """A check may run long, and nobody waits for it when the process that started the suites was killed."""
    while os.getppid() == parent:
        time.sleep(PARENT_SECONDS)
    os.killpg(0, signal.SIGKILL)


class Checks:
    """The hooks: they choose what runs, and tell what became of it."""

    def __init__(self, link: Link) -> None:
        self._link = link

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A check that takes ``toggle`` runs once for each toggle that the release declares."""
        if "toggle" in metafunc.fixturenames:
            metafunc.parametrize("toggle", sorted(self._link.target.schema.get("properties", {})))

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(
        self, collector: pytest.Collector
    ) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """A file that cannot be imported is a result, too: its checks did not run."""
        made = yield
        if made.failed:
            text = made.longreprtext
            message = text.strip().splitlines()[-1].removeprefix("E").strip()
            suite = suite_of(collector.path)
            self._tell(CheckResult(f"{suite}.{collector.path.stem}", suite, "error", 0.0, message, text))
        return made

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        only = set(self._link.only)
        known = [check_id(item) for item in items]
        unknown = sorted(only.difference(*map(_names, items)))
        if only:
            items[:] = [] if unknown else [item for item in items if _names(item) & only]
        for item in items:
            item.add_marker(suite_of(item.path))
        collected = [check_id(item) for item in items]
        self._link.channel.send({"collected": collected, "known": known, "unknown": unknown})

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> None:
        item.stash[_PHASES] = []
        self._link.channel.send({"started": check_id(item)})

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        made = yield
        phases = item.stash[_PHASES]
        phases.append((made, call.excinfo.value if call.excinfo else None))
        if call.when == "teardown":
            self._tell(_result(item, phases, self._link.twin))
        return made

    def pytest_sessionfinish(self) -> None:
        self._link.channel.send({"finished": True})

    def _tell(self, result: CheckResult) -> None:
        self._link.channel.send({"result": asdict(result)})


def suite_of(path: Path) -> str:
    """The suite that a file's checks belong to."""
    return path.stem if path.parent == SUITES_DIRECTORY else CHECKS


def check_id(item: pytest.Item) -> str:
    """``suite.name``; the users' own checks also carry their file's name, as several may be alike."""
    suite = suite_of(item.path)
    file = f"{item.path.stem.removeprefix('test_')}." if suite == CHECKS else ""
    return f"{suite}.{file}{item.name.removeprefix('test_')}"


def _names(item: pytest.Item) -> set[str]:
    whole = check_id(item)
    short = whole.removeprefix(f"{suite_of(item.path)}.")
    return {name for each in (whole, short) for name in (each, each.partition("[")[0])}


def _result(item: pytest.Item, phases: list[Phase], twin: Twin) -> CheckResult:
    seconds = sum(each.duration for each, _ in phases)
    identity: tuple[str, str] = check_id(item), suite_of(item.path)
    # The first phase that did not pass tells why; what the later ones say follows from it.
    made, error = next((each for each in phases if not each[0].passed), (None, None))
    if made is None:
        return CheckResult(*identity, "passed", seconds)
    if made.skipped:
        return CheckResult(*identity, "skipped", seconds, _reason(made))
    details = f"{made.longreprtext}\n\n{_last_lines(twin)}"
    return CheckResult(*identity, _outcome(made, error), seconds, _message(made, error), details)


def _outcome(made: pytest.TestReport, error: BaseException | None) -> Outcome:
    """A check that could not do its work is an error; only one that looked and disagrees has failed."""
    if isinstance(error, ControlError):
        return "error"
    return "failed" if made.when == "call" or isinstance(error, AssertionError) else "error"


def _message(made: pytest.TestReport, error: BaseException | None) -> str:
    if isinstance(error, DcopsError):
        return f"{error.what} {error.why}".strip()
    if isinstance(error, (AssertionError, ControlError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}" if error else made.longreprtext


def _reason(made: pytest.TestReport) -> str:
    longrepr: Any = made.longrepr
    text = longrepr[2] if isinstance(longrepr, tuple) else str(longrepr)
    return text.removeprefix("Skipped: ")


def _last_lines(twin: Twin) -> str:
    try:
        lines = twin.logs(LOG_LINES)
    except ControlError as error:
        return f"The twin's log could not be read: {error}"
    return "\n".join(["The twin's last log lines:", *lines])
