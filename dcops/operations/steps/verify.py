"""Run the suites against the twin before anything is switched."""

from __future__ import annotations

import hashlib
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dcops.core.toggles import effective, project
from dcops.core.verification import CheckResult, ControlFile, Target, VerificationReport
from dcops.errors import OperationFailed
from dcops.operations import instances
from dcops.operations.current import MODEL_POINTER
from dcops.operations.tidy import temporary
from dcops.records.instances import InstanceRecord, read_all
from dcops.verification.runner import run_suites

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from dcops.client import Client
    from dcops.core.deployment import ToggleState
    from dcops.core.protocols import Role
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place

TIME_LIMIT_SECONDS = 300.0


class EngineTwin:
    """What suites may ask of their twin, done by the engine; see ``TwinControl``."""

    def __init__(self, place: Place, record: InstanceRecord) -> None:
        self._place = place
        self._record = record

    def write_control(self, name: ControlFile, content: bytes) -> None:
        self._place.store.write({f"instances/{self._record.id}/{name}": content})

    def restart(self) -> float:
        began = time.monotonic()
        self._place.engine.stop(self._record.id, remove=False)
        seconds = time.monotonic() - began
        self._place.engine.revive([self._record.id])
        # What was stopped is not started again by its keeper, until it is told to.
        self._place.engine.keep(self._record.id, always=False)
        return seconds

    def kill(self) -> None:
        self._place.engine.kill(self._record.id)

    def logs(self, lines: int) -> list[str]:
        return list(self._place.engine.logs(self._record.id, lines=lines))

    def script(self, script: Mapping[str, Any] | None) -> None:
        method = "DELETE" if script is None else "PUT"
        self._model.call(method, self._path(), dict(script) if script is not None else None)

    def model_requests(self) -> list[dict[str, Any]]:
        answer = self._model.call("GET", f"{self._path()}/requests")
        return list(answer["requests"] if isinstance(answer, dict) else answer)

    def open_gate(self, name: str) -> None:
        self._model.call("POST", f"{self._path()}/gates/{name}")

    def _path(self) -> str:
        caller = hashlib.sha256(self._record.gateway_token.encode()).hexdigest()
        return f"/scripts/{caller}"

    @cached_property
    def _model(self) -> Client:
        records = read_all(self._place.store)
        pointer = (self._place.store.read(MODEL_POINTER)[MODEL_POINTER] or b"").decode().strip()
        for record in records.values():
            if self._place.engine.address(record.id) == pointer:
                return self._place.client(record)
        raise OperationFailed(
            "DC-NO-MODEL", "the scripted model does not run", cause="verification", do="run it again"
        )


def target_of(
    place: Place,
    record: InstanceRecord,
    toggles: ToggleState,
    *,
    role: Role = "twin",
    live: bool = False,
    restarts: bool = True,
) -> Target:
    """An instance as the suites see it."""
    revision = record.revision
    return Target(
        url=place.url,
        token=place.token,
        instance=record.id,
        operator=record.secret,
        environment=place.name,
        release=revision.release,
        schema=revision.schema,
        values=effective(project(toggles.values, revision.schema), revision.schema),
        generation=toggles.generation,
        role=role,
        restarts=restarts,
        roles=revision.roles,
        has_model=role == "twin" and not live,
        live=live,
        stop_seconds=float(revision.configuration["drain_timeout"]) + 5,
        ready_seconds=place.environment.ready_timeout,
        hosts=tuple(revision.configuration["hosts"]),
        engine=place.choice.engine,
        limits=revision.configuration["limits"],
        egress=tuple(revision.configuration.get("egress", ())),
    )


def own_checks(place: Place) -> list[Path]:
    """The users' own check files of this environment."""
    directory = place.world.project.root / "environments" / place.name / "checks"
    return [directory] if directory.is_dir() else []


def do(run: Run) -> None:
    place = run.place
    record = run.find(run.plan.twin)
    if record is None:
        record = instances.start(place, run.plan.twin, "twin", run.plan.revision, run.toggles)
    instances.await_ready(place, record, timeout=place.environment.ready_timeout)

    def said(result: CheckResult) -> None:
        if result.outcome in {"failed", "error"}:
            run.say("verify", f"{result.outcome} {result.id}: {result.message}")

    report = run_suites(
        # The checks that end the twin cost a start each; `dcops verify` runs them.
        target_of(place, record, run.toggles, restarts=False),
        run.plan.suites,
        extra_paths=own_checks(place),
        time_limit=TIME_LIMIT_SECONDS,
        handlers=EngineTwin(place, record),
        temporary=temporary(place.world.project.root),
        on_result=said,
    )
    run.values["verification"] = {"verdict": report.verdict, "counts": report.counts}
    if report.verdict == "fail" or (report.verdict == "inconclusive" and not _accepted(run, report)):
        raise refused(place, report)
    instances.remove(place, record)


def undo(run: Run) -> None:
    instances.remove_by_id(run.place, run.plan.twin)


def _accepted(run: Run, report: VerificationReport) -> bool:
    """Whether somebody wants to go on although nothing was proven."""
    run.say("verify", f"inconclusive: {_first_reason(report)}")
    said = run.place.world.ask(f"Verification of {run.place.name} was inconclusive. Go on anyway?")
    run.values["verification"]["accepted"] = said
    return said


def refused(place: Place, report: VerificationReport) -> OperationFailed:
    """The error for a report that does not prove the release: it failed, or it is inconclusive."""
    bad, failed = _bad(report), report.verdict == "fail"
    return OperationFailed(
        "DC-VERIFY-FAILED" if failed else "DC-VERIFY-INCONCLUSIVE",
        f"{len(bad)} of {len(report.checks)} checks did not pass on the twin"
        if failed
        else "verification was inconclusive",
        cause="verification",
        why=_first_reason(report),
        do=report.rerun(bad[0]) if bad else f"dcops verify {place.name}",
        report=report.to_json(),
    )


def _bad(report: VerificationReport) -> list[CheckResult]:
    """Those that failed before those that could not run."""
    wrong = [check for check in report.checks if check.outcome in {"failed", "error"}]
    return sorted(wrong, key=lambda check: check.outcome != "failed")


def _first_reason(report: VerificationReport) -> str:
    bad = _bad(report)
    return f"{bad[0].id}: {bad[0].message}" if bad else report.incomplete or "no check has run"
