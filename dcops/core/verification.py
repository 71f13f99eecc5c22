"""What verification checks, what it may ask of its twin, and what it found. Pure."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from dcops.core.protocols import Role

ControlFile = Literal["toggles.json", "role.json", "access.json"]
Outcome = Literal["passed", "failed", "skipped", "error"]
Verdict = Literal["pass", "fail", "inconclusive"]

SUITES = ("smoke", "toggles", "streaming", "contract", "isolation")
LIVE = "live"
"""The suite that spends tokens of the real model."""
CHECKS = "checks"
"""Suite name of the users' own check files."""


@dataclass(frozen=True, slots=True)
class Target:
    """The instance that is verified, and what it should say of itself.

    Attributes:
        url: Of the proxy, ``http://127.0.0.1:8100``, or of the instance itself; ``unix:/path`` works too.
        token: Bearer token that its ``access.json`` lets in.
        instance: Id for the instance route.
        operator: Secret for the instance route, 64 hex digits; empty when the url is the instance's own.
        environment: Name, for the report and the command that reruns a check.
        release: Release id that it must report.
        role: Role that it must report.
        schema: Toggle schema of the release; empty when it has no toggles.
        values: The toggle values that it was given.
        generation: The generation that it was given.
        roles: False when the implementation knows no roles.
        has_model: Its gateway token leads to a scripted model that the parent can script.
        live: Checks that spend tokens of the real model may run.
        restarts: Checks that end the instance and start it again may run; each takes as long as a start.
        stop_seconds: Between SIGTERM and SIGKILL.
        ready_seconds: How long a start may take.
        hosts: Hosts besides loopback that it answers for.
        engine: What runs it, ``process`` or ``docker``; empty when that is not known.
        limits: What it may use: ``memory`` in bytes, ``cpus``, ``pids``.
        egress: Hosts that its tools may reach, ``host`` or ``host:port``.
    """

    url: str
    token: str = field(repr=False)
    instance: str
    release: str
    environment: str
    operator: str = field(default="", repr=False)
    role: Role = "twin"
    schema: Mapping[str, Any] = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    generation: int = 1
    roles: bool = True
    has_model: bool = False
    live: bool = False
    restarts: bool = True
    stop_seconds: float = 35.0
    ready_seconds: float = 60.0
    hosts: tuple[str, ...] = ()
    engine: str = ""
    limits: Mapping[str, float] = field(default_factory=dict)
    egress: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As the runner hands it to the suites' process; it holds secrets."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Target:
        return cls(**{**document, **{name: tuple(document[name]) for name in ("hosts", "egress")}})


class TwinControl(Protocol):
    """What the suites may ask of the process that started them: all of it concerns their twin only.

    Calls come one at a time, from the thread that runs ``run_suites``. An error they raise makes the
    check that asked an ``error``, so the verdict is inconclusive and not a failure of the twin.
    """

    def write_control(self, name: ControlFile, content: bytes) -> None:
        """Replace one of the twin's control files; the suite itself waits for the acknowledgement."""
        ...

    def restart(self) -> float:
        """SIGTERM, wait for its end (SIGKILL after its stop timeout), start it again with the same state.

        Returns:
            Seconds from SIGTERM to its end. The suite itself waits until it is ready again.
        """
        ...

    def kill(self) -> None:
        """SIGKILL, as a crash would; it is started again with the same state, by its keeper or by this."""
        ...

    def logs(self, lines: int) -> list[str]:
        """Its last log lines, oldest first."""
        ...

    def script(self, script: Mapping[str, Any] | None) -> None:
        """Make the scripted model answer the twin's gateway token by this script; None removes it."""
        ...

    def model_requests(self) -> list[dict[str, Any]]:
        """What the scripted model got from the twin since it was last scripted, as it tells it.

        Each entry has ``path``, ``body``, and ``problems``: why the request was refused.
        """
        ...

    def open_gate(self, name: str) -> None:
        """Let a reply of the script go on that holds at this gate."""
        ...


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What became of one check.

    Attributes:
        id: ``suite.name``.
        seconds: How long it took.
        message: Why it failed, was skipped or could not run, in plain words; empty when it passed.
        details: For a closer look: the traceback, the twin's last log lines.
    """

    id: str
    suite: str
    outcome: Outcome
    seconds: float
    message: str = ""
    details: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


OnResult = Callable[[CheckResult], None]


@dataclass(frozen=True, slots=True)
class SuiteReport:
    """The results of one suite, in the order in which they came."""

    suite: str
    checks: tuple[CheckResult, ...]

    @property
    def counts(self) -> dict[Outcome, int]:
        """Number of checks by outcome, all four outcomes named."""
        counter = Counter(check.outcome for check in self.checks)
        outcomes: tuple[Outcome, ...] = ("passed", "failed", "skipped", "error")
        return {outcome: counter[outcome] for outcome in outcomes}

    @property
    def seconds(self) -> float:
        return sum(check.seconds for check in self.checks)

    @property
    def verdict(self) -> Verdict:
        """A failed check decides; what did not run, or was only skipped, proves nothing."""
        counts = self.counts
        if counts["failed"]:
            return "fail"
        return "inconclusive" if counts["error"] or not counts["passed"] else "pass"

    def to_json(self) -> dict[str, Any]:
        return {
            "suite": self.suite,
            "verdict": self.verdict,
            "counts": self.counts,
            "seconds": round(self.seconds, 3),
            "checks": [check.to_json() for check in self.checks],
        }


@dataclass(frozen=True, slots=True)
class VerificationReport:
    """What a run of suites found.

    Attributes:
        environment: Name of the environment.
        release: Release id that was verified.
        suites: One report a suite.
        seconds: Wall time.
        incomplete: Why the run ended before all its checks did (crash, time limit); empty when it did not.
    """

    environment: str
    release: str
    suites: tuple[SuiteReport, ...]
    seconds: float
    incomplete: str = ""

    @property
    def checks(self) -> tuple[CheckResult, ...]:
        return tuple(check for suite in self.suites for check in suite.checks)

    @property
    def counts(self) -> dict[Outcome, int]:
        return SuiteReport("", self.checks).counts

    @property
    def verdict(self) -> Verdict:
        """``fail`` when a check failed, even in an incomplete run; ``pass`` needs a complete one."""
        verdict = SuiteReport("", self.checks).verdict
        return "inconclusive" if verdict == "pass" and self.incomplete else verdict

    def rerun(self, check: CheckResult) -> str:
        """The command that runs this check again."""
        name = check.id.removeprefix(f"{check.suite}.")
        how = "--live" if check.suite == LIVE else f"--suite {check.suite}"
        return f"dcops verify {self.environment} {how} --only {shlex.quote(name)}"

    def to_json(self) -> dict[str, Any]:
        """For ``--json``; checks that did not pass carry the command that reruns them."""
        return {
            "environment": self.environment,
            "release": self.release,
            "verdict": self.verdict,
            "counts": self.counts,
            "seconds": round(self.seconds, 3),
            "incomplete": self.incomplete,
            "suites": [suite.to_json() for suite in self.suites],
            "rerun": {
                check.id: self.rerun(check) for check in self.checks if check.outcome in {"failed", "error"}
            },
        }


def report(
    target: Target, checks: Iterable[CheckResult], *, seconds: float, incomplete: str = ""
) -> VerificationReport:
    """Sort results into suites, in the order in which each suite first appears."""
    by_suite: dict[str, list[CheckResult]] = {}
    for check in checks:
        by_suite.setdefault(check.suite, []).append(check)
    suites = tuple(SuiteReport(suite, tuple(results)) for suite, results in by_suite.items())
    return VerificationReport(target.environment, target.release, suites, seconds, incomplete)
