"""Run a plan step by step, journaled; take it back when a step fails."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcops.core.events import OperationEvent
from dcops.errors import DcopsError, Interrupted, LockLost, NotRestored, OperationFailed, disk_full
from dcops.operations.interrupts import Signalled
from dcops.operations.steps import (
    access,
    backup,
    bake,
    hooks,
    maintenance,
    migrate,
    outage,
    power,
    probe,
    prune,
    record,
    start,
    switch,
    toggles,
    verify,
)
from dcops.operations.steps.run import Failure
from dcops.records.rotation import Rotation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from dcops.core.plan import Step
    from dcops.operations.interrupts import Signals
    from dcops.operations.steps.run import Run
    from dcops.records.lock import EnvironmentLock

COMMIT = "record"


def _nothing(_run: Run) -> None:
    return


@dataclass(frozen=True, slots=True)
class StepCode:
    """What a step does and how it is undone; both may run twice, after a crash between two lines."""

    do: Callable[[Run], None]
    undo: Callable[[Run], None] = _nothing


CODE: dict[str, StepCode] = {
    "proxy": StepCode(start.start_proxy, start.undo_proxy),
    "model": StepCode(start.start_model),
    "stop": StepCode(outage.stop, outage.start_again),
    "restore": StepCode(outage.restore, outage.put_back),
    "migrate": StepCode(migrate.do, outage.put_back),
    "start": StepCode(start.start_instances, start.undo_instances),
    "probe": StepCode(probe.do),
    "verify": StepCode(verify.do, verify.undo),
    "backup": StepCode(backup.do),
    "toggles": StepCode(toggles.do, toggles.undo),
    "pre-switch": StepCode(hooks.pre_switch),
    "switch": StepCode(switch.do, switch.undo),
    "smoke": StepCode(switch.smoke),
    "bake": StepCode(bake.do),
    "maintenance": StepCode(maintenance.do, maintenance.undo),
    "access": StepCode(access.do, access.undo),
    "halt": StepCode(power.halt, power.revive),
    "revive": StepCode(power.revive, power.halt),
    "record": StepCode(record.do),
    "settle": StepCode(switch.settle),
    "prune": StepCode(prune.do),
    "post-deploy": StepCode(hooks.post_deploy),
    "post-rollback": StepCode(hooks.post_rollback),
}


def execute(run: Run, lock: EnvironmentLock, signals: Signals, *, done: Sequence[str] = ()) -> None:
    """Run the plan's steps that are not done; the journal must have been begun.

    Raises:
        OperationFailed: A step failed; everything was taken back and what served before serves.
        NotRestored: A step failed, and so did taking it back.
        Interrupted: By a signal; everything was taken back.
        LockLost: Another operator took over, and everything is left to that one.
    """
    finished, last = list(done), ""
    step = None
    try:
        for step in _remaining(run, done):
            if step.id == COMMIT:
                # From here on the new state is the truth: a late Ctrl-C would only tear its record.
                signals.held = True
            run.place.journal.advance(done=last, start=step.id, values=run.values)
            lock.step(step.id)
            _timed(run, step)
            finished.append(step.id)
            last = step.id
        _tidy(run)
        run.place.journal.end()
    except LockLost:
        # What was begun is the other operator's to finish or to take back.
        signals.held = True
        raise
    except BaseException as error:
        signals.held = True
        if step is not None and isinstance(error, Exception):
            run.failure = Failure(step.id, error)
        if COMMIT in finished or (step and step.id == COMMIT and _committed(run)):
            run.say(step.id if step else "", f"not finished: {error}; what was recorded stands")
            run.place.journal.end()
            return
        undo(run, [*finished, step.id] if step and step.id not in finished else finished, error)
        raise _outcome(run, step, error) from error


def undo(run: Run, steps: Iterable[str], error: BaseException | None = None) -> None:
    """Take steps back, the last one first.

    Raises:
        NotRestored: It did not work; the journal stays, so that ``abort`` can try again.
    """
    journal, doing = run.place.journal, ""
    try:
        journal.free_reserve()
        for doing in reversed(list(steps)):
            code = CODE.get(doing)
            if code is None or code.undo is _nothing:
                continue
            journal.undoing(doing)
            code.undo(run)
            run.place.world.emit(OperationEvent(doing, "undone", _undo_title(run, doing)))
            journal.undoing(undone=doing)
        doing = ""
        _tidy(run)
        result = "interrupted" if isinstance(error, Signalled) else "failed" if error else "aborted"
        run.place.history.append(record.entry(run, result, error=str(error) if error else ""))
        journal.end()
    except LockLost:
        raise
    except Exception as second:
        raise _not_restored(run, doing, error, second) from second


def _not_restored(run: Run, doing: str, error: BaseException | None, second: Exception) -> NotRestored:
    at, name = f"undoing '{doing}'" if doing else "writing that down", run.place.name
    second = disk_full(second) or second
    first = second.do if isinstance(second, DcopsError) else ""
    return NotRestored(
        "DC-NOT-RESTORED",
        f"the earlier state of {name} could not be put back",
        why=f"{second}" if error is None else f"{error}; then, {at}: {second}",
        do=f"{first.rstrip('.')}; then dcops abort {name}" if first else f"dcops abort {name}",
    )


def _tidy(run: Run) -> None:
    """Beside a real model the scripted one runs for a verification only; a rotation leaves one token."""
    if run.plan.kind == "token":
        Rotation(run.place.local.token_file).end()
    if run.plan.makes_deployment and run.plan.revision.real_model:
        start.retire_model(run.place)


def _remaining(run: Run, done: Sequence[str]) -> list[Step]:
    return [step for step in run.plan.steps if step.id not in done]


def _committed(run: Run) -> bool:
    """Whether the line of history was written before its step failed; then the deployment stands."""
    try:
        made = record.made_by(run.plan, run.place.history.entries())
    except DcopsError:
        return False  # then nothing can be taken back either, and `abort` looks again
    if made is not None and made.deployment is not None:
        run.values["deployment"] = made.deployment.to_json()
    return made is not None


def _timed(run: Run, step: Step) -> None:
    emit = run.place.world.emit
    emit(OperationEvent(step.id, "started", step.title))
    began = time.monotonic()
    try:
        CODE[step.id].do(run)
    except BaseException as error:
        emit(OperationEvent(step.id, "failed", str(error), seconds=time.monotonic() - began))
        raise
    emit(OperationEvent(step.id, "ok", step.title, seconds=time.monotonic() - began))


def _undo_title(run: Run, name: str) -> str:
    return next((step.undo for step in run.plan.steps if step.id == name), "")


def _serves(run: Run) -> str:
    """What users meet now; the failure may have been the end of all that runs."""
    before, name = run.current.deployment, run.place.name
    if before is None:
        return "nothing was served before"
    try:
        now = run.look()
    except DcopsError:
        return f"{before.revision.short} served before; whether it still does cannot be seen"
    if now.proxy.running and now.runs(run.current.serving):
        return f"{before.revision.short} still serves"
    return f"{before.revision.short} served before, but {name} is down: dcops start {name}"


def joined(why: str, serves: str) -> str:
    """The reason of a failure, and what serves in spite of it."""
    return ("\n" if "\n" in why else "; ").join(filter(None, (why, serves)))


def _outcome(run: Run, step: Step | None, error: BaseException) -> BaseException:
    """The error that the user sees: what failed, and that what served before still does."""
    serves, error = _serves(run), disk_full(error) or error
    if isinstance(error, Signalled):
        at = f" at step '{step.id}'" if step else ""
        return Interrupted(f"interrupted{at}; taken back, {serves}", signal_number=error.number)
    if isinstance(error, OperationFailed):
        error.why = joined(error.why, serves)
        return error
    cause = step.id if step else "start"
    if isinstance(error, DcopsError):
        detail = {key: value for key, value in error.detail.items() if key != "cause"}
        return OperationFailed(
            error.code,
            error.what,
            cause=cause,
            why=joined(error.why, serves),
            do=error.do,
            **detail,
        )
    return OperationFailed(
        "DC-STEP-FAILED",
        f"step '{cause}' failed: {error}",
        cause=cause,
        why=serves,
        do=f"dcops logs {run.place.name}",
    )
