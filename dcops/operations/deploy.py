"""Deploy: plan, build, lock, start beside the old one, verify a twin, back up, switch, settle."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dcops.core.deployment import Deployment, Revision
from dcops.core.events import OperationEvent
from dcops.core.plan import STEPS, Plan, Step
from dcops.core.release import build_id
from dcops.errors import Interrupted, NotRestored, OperationFailed, PreconditionMissing
from dcops.operations.current import Current, observe
from dcops.operations.domain import require_domain
from dcops.operations.engine_choice import choose, finish_move, keep, undo_move
from dcops.operations.execute import joined
from dcops.operations.hooks import PRE_BUILD, on_failure, run_hook
from dcops.operations.interrupts import interruptible
from dcops.operations.planning import configuration, make_plan, set_values
from dcops.operations.promotion import refuse_unproven, served_by
from dcops.operations.steps.build import build, files_of, model_revision, model_source, revision_of
from dcops.operations.steps.prune import pinned
from dcops.operations.steps.start import proxy_before, write_key
from dcops.operations.transaction import Transaction
from dcops.projects import record_project
from dcops.releases.context import load_release

if TYPE_CHECKING:
    from dcops.operations.world import Place, World

Confirm = Callable[[Plan], None]


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """What ``dcops deploy`` was asked.

    Attributes:
        engine: ``--engine``, None for what is recorded or the environment says.
        sets: Toggle values as written on the command line.
        origin: Environment whose release is deployed; empty for the files of the implementation.
        plan: A saved plan, refused when what runs has moved since.
        lock_wait: Seconds to wait for another operation.
        breaking: Whether what runs may be stopped for a migration that it could not read.
    """

    environment: str
    engine: str | None = None
    sets: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    origin: str = ""
    plan: Plan | None = None
    lock_wait: float = 0.0
    breaking: bool = False


@dataclass(frozen=True, slots=True)
class DeployReport:
    """How a deploy, rollback or restart ended; ``done`` is the end of a resumed plan of another kind.

    Attributes:
        verification: The verdict of the suites and their counts; empty when none ran.
        bake: The verdict after the switch and its figures; empty without one.
        warnings: What went wrong and leaves the deployment as it is.
    """

    environment: str
    result: Literal["deployed", "done", "unchanged", "aborted"]
    plan: Plan | None
    deployment: Deployment | None
    url: str
    token_file: str
    seconds: float
    backup: str = ""
    public_url: str = ""
    verification: dict[str, Any] = field(default_factory=dict)
    bake: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {
            "environment": self.environment,
            "result": self.result,
            "plan": self.plan.to_json() if self.plan else None,
            "deployment": self.deployment.to_json() if self.deployment else None,
            "url": self.url,
            "public_url": self.public_url,
            "token_file": self.token_file,
            "seconds": round(self.seconds, 3),
            "backup": self.backup,
            "verification": self.verification,
            "bake": self.bake,
            "warnings": list(self.warnings),
        }


def plan(world: World, request: DeployRequest) -> Plan:
    """What ``deploy`` would do now; only reads.

    Raises:
        PreconditionMissing: Bad files, or an engine that cannot be used.
        UsageError: A toggle value is wrong.
    """
    place = _place(world, request)
    return _plan(place, request, _look(place, request.lock_wait))


def deploy(world: World, request: DeployRequest, confirm: Confirm) -> DeployReport:
    """Make the environment's implementation serve.

    Args:
        confirm: Called with the plan before anything is changed; raises to refuse.

    Raises:
        OperationFailed: It failed, and what served before serves.
        PreconditionMissing: The lock is held, the plan is stale, the engine is down ...
    """
    place = _place(world, request)
    current = _look(place, request.lock_wait)
    planned = _fresh(request.plan, current) or _plan(place, request, current)
    if request.plan is not None:
        refuse_unproven(place, current, planned.revision.release)
    if place.environment.model == "api" and not planned.does_nothing:
        _ = place.key  # a missing one is refused before anything is built or started
    if planned.has("proxy"):
        require_domain(place, current)
    try:
        done = carry_out(
            place,
            planned,
            confirm,
            replan=lambda current: _fresh(request.plan, current) or _plan(place, request, current),
            lock_wait=request.lock_wait,
        )
    except (OperationFailed, Interrupted):
        undo_move(place)
        raise
    finish_move(place)
    return done


def carry_out(
    place: Place,
    planned: Plan,
    confirm: Confirm,
    *,
    replan: Callable[[Current], Plan],
    source: Path | None = None,
    lock_wait: float = 0.0,
) -> DeployReport:
    """Build outside the lock; inside it look again, and run the plan that then holds.

    Args:
        replan: Makes the plan anew from what runs once the lock is held.
        source: Directory to build from, where it is not the plan's own.
    """
    began = time.time()
    if planned.does_nothing:
        # A key that was changed where the environment says it is shows in no plan.
        with suppress(PreconditionMissing):
            write_key(place)
        return report(place, "unchanged", planned, planned.current, began)
    recorded = place.local.choice()
    if recorded is None or recorded.engine != place.choice.engine:
        place.say("", f"{place.name} runs on {place.choice.engine}: {place.choice.why}")
    confirm(planned)
    values: dict[str, Any] = {}
    try:
        with interruptible() as signals, pinned(place, planned.revision):
            place.local.directory.mkdir(parents=True, exist_ok=True)
            record_project(place.world.project)
            place.engine.check()
            done = _build(place, planned, source)
            place.engine.prepare()
            with place.lock.acquire(planned.kind, wait=lock_wait) as lock:
                keep(place)
                if planned.kind == "deploy":
                    write_key(place)
                held = Transaction(place, lock, signals)
                current = held.look()
                if current.digest != planned.based_on:
                    planned = replan(current)
                    if planned.does_nothing:
                        return report(place, "unchanged", planned, planned.current, began)
                    confirm(planned)
                    done += _build(place, planned, source, done)
                values |= _values(place, planned)
                held.run(planned, current, began=began, values=values, done=done)
    except (OperationFailed, NotRestored, Interrupted) as error:
        on_failure(place, planned, values, error)
        raise
    return report(
        place, "deployed", planned, Deployment.from_json(values["deployment"]), began, values=values
    )


def report(
    place: Place,
    result: Literal["deployed", "done", "unchanged", "aborted"],
    planned: Plan | None,
    deployment: Deployment | None,
    began: float,
    *,
    values: Mapping[str, Any] | None = None,
) -> DeployReport:
    """The report of a run.

    Args:
        values: What its steps have left.
    """
    values = values or {}
    return DeployReport(
        environment=place.name,
        result=result,
        plan=planned,
        deployment=deployment,
        url=place.url,
        token_file=str(place.local.token_file),
        seconds=time.time() - began,
        backup=values.get("backup", ""),
        public_url=place.public_url,
        verification=values.get("verification", {}),
        bake=values.get("bake", {}),
        warnings=tuple(values.get("warnings", ())),
    )


def _place(world: World, request: DeployRequest) -> Place:
    environment = world.environments.load(request.environment)
    return world.place(environment, choose(world, environment, request.engine))


def _look(place: Place, lock_wait: float) -> Current:
    """What runs; nothing does before the first deploy, and then there is no store to ask."""
    place.lock.require_free(wait=lock_wait)
    recorded = place.local.choice()
    new = recorded is None or recorded.engine != place.choice.engine
    if new and not place.engine.proxy().running:
        return Current()
    return observe(place)


def _plan(place: Place, request: DeployRequest, current: Current) -> Plan:
    revision, source = _asked(place, request)
    refuse_unproven(place, current, revision.release)
    place.world.environments.check_toggles(place.name, revision.schema)
    # Read anew: a toggle may have been flipped, in the file too, while this deploy was building.
    wanted = place.world.environments.load(place.name).toggles
    revision = replace(revision, toggles=set_values(wanted, request.sets, revision.schema))
    made = make_plan(
        place,
        current,
        revision,
        kind="deploy",
        source=str(source),
        reason=request.reason,
        suites=place.environment.suites,
        breaking=request.breaking,
    )
    origin = (f"source     what {request.origin} serves",) if request.origin else ()
    return replace(made, changes=(*origin, *made.changes))


def _asked(place: Place, request: DeployRequest) -> tuple[Revision, Path]:
    """What shall serve, still without toggles, and where its files are."""
    settings = configuration(place.environment)
    if request.origin:
        there, deployment = served_by(place.world, request.origin, place)
        source = files_of(there, deployment.revision)
        build = build_id(deployment.revision.release, place.engine.platform())
        return replace(deployment.revision, build=build, configuration=settings), source
    source = place.environment.implementation
    return revision_of(place, load_release(source), settings), source


def _fresh(saved: Plan | None, current: Current) -> Plan | None:
    """The saved plan, when it still holds.

    Raises:
        PreconditionMissing: What runs has moved since it was made.
    """
    if saved is not None and saved.based_on != current.digest:
        raise PreconditionMissing(
            "DC-PLAN-STALE",
            f"the plan for {saved.environment} is stale",
            why="what runs has changed since it was made",
            do=f"dcops plan {saved.environment} -o FILE",
        )
    return saved


def _build(place: Place, planned: Plan, source: Path | None, done: Sequence[str] = ()) -> list[str]:
    """Run the plan's first steps; they need no lock and are not undone: builds are kept by content.

    Args:
        done: Those that an earlier plan of this operation has run.

    Returns:
        Those that ran.
    """

    def make() -> None:
        if not place.engine.has_build(planned.revision.build):
            build(place, source or Path(planned.source), expect=planned.revision.release)
        if planned.has("model"):
            build(place, model_source())

    early: dict[str, Callable[[], None]] = {
        PRE_BUILD: lambda: run_hook(place, PRE_BUILD, planned, {}),
        "build": make,
    }
    wanted = [step for step in early if planned.has(step) and (step == "build" or step not in done)]
    for step in wanted:
        _early(place, planned, STEPS[step], early[step])
    return wanted


def _early(place: Place, planned: Plan, step: Step, action: Callable[[], None]) -> None:
    emit, began = place.world.emit, time.monotonic()
    emit(OperationEvent(step.id, "started", step.title))
    try:
        action()
    except BaseException as error:
        emit(OperationEvent(step.id, "failed", str(error), seconds=time.monotonic() - began))
        if isinstance(error, OperationFailed) and planned.current is not None:
            error.why = joined(error.why, f"{planned.current.revision.short} still serves")
        raise
    emit(OperationEvent(step.id, "ok", step.title, seconds=time.monotonic() - began))


def _values(place: Place, planned: Plan) -> dict[str, Any]:
    """What steps find out before any of them runs, so that the journal has it."""
    model = {"model": model_revision(place).to_json()} if planned.has("model") else {}
    return model | ({"proxy": proxy_before(place)} if planned.has("proxy") else {})
