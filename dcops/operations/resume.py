"""Finish or take back an operation that was interrupted."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from dcops.errors import Interrupted, NotRestored, OperationFailed, PreconditionMissing
from dcops.operations.current import Current, observe, refuse_down
from dcops.operations.deploy import DeployReport, report
from dcops.operations.engine_choice import choose, finish_move, undo_move
from dcops.operations.execute import CODE, COMMIT, execute, undo
from dcops.operations.hooks import on_failure
from dcops.operations.interrupts import interruptible
from dcops.operations.steps.record import made_by
from dcops.operations.steps.run import Run

if TYPE_CHECKING:
    from dcops.operations.world import Place, World
    from dcops.records.journal import Unfinished


def resume(world: World, environment: str) -> DeployReport:
    """Go on where the interrupted operation stopped; its steps may run twice and do no harm by it.

    Raises:
        PreconditionMissing: Nothing is unfinished, or it was already being taken back.
    """
    place = world.open(environment)
    left = _unfinished(place, observe(place))
    try:
        run = _resumed(world, place)
    except (OperationFailed, NotRestored, Interrupted) as error:
        on_failure(place, left.plan, left.values, error)
        raise
    return _finished(run.place, run)


def _resumed(world: World, place: Place) -> Run:
    environment = place.name
    with interruptible() as signals, place.lock.acquire("resume") as lock:
        current = observe(place)
        left = _unfinished(place, current)
        if left.undoing:
            raise PreconditionMissing(
                "DC-UNDOING",
                f"the {left.plan.kind} of {environment} was already being taken back",
                do=f"dcops abort {environment}",
            )
        done = _still_done(current, left)
        if left.plan.has("proxy") and "proxy" not in done:
            # With the port that was asked for: the recorded one is still the earlier. The engine stays the
            # one whose store carries the fence.
            place = replace(place, choice=choose(world, place.environment, None))
        run = _run(place, current, left)
        if left.started == "verify":
            # The checks have changed their twin, as far as they came; they begin anew on a fresh one.
            CODE["verify"].undo(run)
        execute(run, lock, signals, done=done)
        finish_move(place)
    return run


def abort(world: World, environment: str) -> DeployReport:
    """Take the interrupted operation back; one that was already committed is finished instead.

    Raises:
        PreconditionMissing: Nothing is unfinished.
        NotRestored: The earlier state could not be put back.
    """
    place = world.open(environment)
    with interruptible() as signals, place.lock.acquire("abort") as lock:
        current = observe(place)
        left = _unfinished(place, current)
        run = _run(place, current, left)
        if COMMIT in left.done or made_by(left.plan, current.entries):
            execute(run, lock, signals, done=left.done)
            return _finished(place, run)
        signals.held = True
        steps = [*left.done, left.started] if left.started not in left.done else list(left.done)
        undo(run, [step for step in steps if step and step not in left.undone])
        undo_move(place)
    down = [] if place.engine.proxy().running else [f"{environment} is down: dcops start {environment}"]
    values = {"warnings": down}
    place = world.open(environment)
    return report(place, "aborted", left.plan, left.plan.current, run.started, values=values)


def _finished(place: Place, run: Run) -> DeployReport:
    if not run.plan.makes_deployment:
        return report(place, "done", run.plan, run.plan.current, run.started)
    return report(place, "deployed", run.plan, observe(place).deployment, run.started, values=run.values)


def _unfinished(place: Place, current: Current) -> Unfinished:
    if current.unfinished is None:
        raise PreconditionMissing(
            "DC-NOTHING-UNFINISHED",
            f"no operation of {place.name} is unfinished",
            do=f"dcops status {place.name}",
        )
    return current.unfinished


def _still_done(current: Current, left: Unfinished) -> list[str]:
    """The steps whose result is still there: whatever ran may have ended together with the operation.

    Raises:
        PreconditionMissing: The environment is down, and the plan does not start it.
    """
    if COMMIT in left.done or made_by(left.plan, current.entries):
        return list(left.done)
    if left.plan.kind in {"stop", "start", "maintenance"}:
        return []
    if not left.plan.has("proxy"):
        refuse_down(current, left.plan.environment)
    gone = {
        "proxy": not current.proxy.running,
        "model": not current.runs(current.model),
        "start": not current.runs(left.plan.candidate),
    }
    return list(takewhile(lambda step: not gone.get(step, False), left.done))


def _run(place: Place, current: Current, left: Unfinished) -> Run:
    """The run as it was before the interruption: what served then is what the plan says."""
    before = left.plan.current
    earlier = replace(current, serving=before.instance if before else "")
    return Run(place, left.plan, earlier, time.time(), dict(left.values))
