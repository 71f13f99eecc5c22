"""What runs where, what drifted, and what to do about it; reads only, and fast."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from dcops.core import toggles as core_toggles
from dcops.errors import DcopsError
from dcops.operations.current import Current, interrupted, observe
from dcops.operations.drift import Drift, differences
from dcops.operations.evidence import gather
from dcops.operations.instances import followed

if TYPE_CHECKING:
    from dcops.operations.world import Place, World
    from dcops.records.journal import Unfinished

State = Literal["running", "degraded", "down", "empty", "absent", "unreachable", "invalid"]
PROBE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that needs somebody: what it is, and the command or action."""

    code: str
    what: str
    do: str


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """One instance; ``started`` is seconds since the epoch, ``turns`` None when it was not asked."""

    id: str
    role: str
    release: str
    started: float
    status: str
    restarts: int = 0
    turns: int | None = None


@dataclass(frozen=True, slots=True)
class ToggleStatus:
    """``acknowledged`` is the generation that the serving instance follows."""

    generation: int = 0
    digest: str = ""
    acknowledged: int = 0


@dataclass(frozen=True, slots=True)
class EnvironmentStatus:
    """One environment.

    Attributes:
        state: ``absent`` was never deployed here, ``empty`` is deployed with nothing that serves.
        why: How its engine was decided.
        deployed: Seconds since the epoch when the serving release was.
        public_url: Where the domain is served, beside ``url``; empty without one.
        maintenance: Seconds that users are told to wait; None when there is no maintenance.
        failed: The candidate that failed last and is kept stopped: its id, release, when and at which step.
        tokens: Tokens of this day (UTC) by kind, their ``total``, and the ``budget``, 0 for none; None where
            nobody counts them.
        operation: Who runs an operation now, on whatever machine, as the lock says.
    """

    name: str
    state: State
    engine: str = ""
    why: str = ""
    release: str = ""
    deployed: float = 0.0
    url: str = ""
    public_url: str = ""
    token_file: str = ""
    instances: tuple[InstanceStatus, ...] = ()
    toggles: ToggleStatus = field(default_factory=ToggleStatus)
    drift: tuple[Drift, ...] = ()
    maintenance: int | None = None
    failed: dict[str, Any] | None = None
    tokens: dict[str, int] | None = None
    operation: dict[str, Any] | None = None
    problems: tuple[Problem, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def status(world: World, environment: str | None = None) -> list[EnvironmentStatus]:
    """The state of one environment or of all; a broken one is a row, not an error.

    Raises:
        NotFound: The named environment does not exist.
    """
    names = [environment] if environment else world.environments.names()
    if environment:
        world.environments.read(environment)
    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(lambda name: _status(world, name), names))


def _status(world: World, name: str) -> EnvironmentStatus:
    try:
        environment = world.environments.load(name)
    except DcopsError as error:
        return EnvironmentStatus(name, "invalid", problems=(_problem(error),))
    try:
        choice = world.choice(environment)
    except DcopsError as error:
        return EnvironmentStatus(name, "unreachable", problems=(_problem(error),))
    if choice is None:
        problem = Problem("DC-NOT-DEPLOYED", f"{name} is not deployed", f"dcops deploy {name}")
        return EnvironmentStatus(name, "absent", problems=(problem,))
    place = world.place(environment, choice)
    try:
        current, holder = observe(place), place.lock.holder()
        return _look(place, current, holder)
    except DcopsError as error:
        return EnvironmentStatus(
            name, "unreachable", choice.engine, choice.why, url=place.url, problems=(_problem(error),)
        )


def _look(place: Place, current: Current, holder: dict[str, Any] | None) -> EnvironmentStatus:
    state, problems, seen = _health(place, current)
    if current.unfinished is not None and holder is None:
        problems.append(_interrupted(place, current.unfinished))
    problems += _turned_off(place, current)
    deployment = current.deployment
    return EnvironmentStatus(
        name=place.name,
        state=state,
        engine=place.choice.engine,
        why=place.choice.why,
        release=deployment.revision.release if deployment else "",
        deployed=deployment.at if deployment else 0.0,
        url=place.url,
        public_url=current.proxied.public_url if current.proxied else "",
        token_file=str(place.local.token_file),
        instances=_instances(current, seen),
        toggles=_toggles(current, seen),
        drift=tuple(differences(current, gather(place, current, seen))),
        maintenance=current.maintenance,
        failed=_failed(current),
        tokens=seen.get("tokens"),
        operation=holder,
        problems=tuple(problems),
    )


def _health(place: Place, current: Current) -> tuple[State, list[Problem], dict[str, Any]]:
    """The state, what is wrong, and what the serving instance says of itself."""
    if not current.serving or current.record is None:
        empty = Problem("DC-NOTHING-SERVES", f"nothing serves in {place.name}", f"dcops deploy {place.name}")
        return "empty", [empty], {}
    if not current.proxy.running or not current.runs(current.serving):
        missing = f"instance {current.serving}" if current.proxy.running else "the proxy"
        down = Problem(
            "DC-DOWN", f"{place.name} is down: {missing} does not run", f"dcops start {place.name}"
        )
        return "down", [down], {}
    client = place.client(current.record, timeout=PROBE_SECONDS)
    ready, reasons = client.ready()
    try:
        seen = client.instance()
    except DcopsError as error:
        return "degraded", [_problem(error)], {}
    logs = f"dcops logs {place.name}"
    problems = [] if ready else [Problem("DC-NOT-READY", f"not ready: {'; '.join(reasons)}", logs)]
    if refusal := (seen.get("toggles") or {}).get("error"):
        problems.append(Problem("DC-TOGGLES-REFUSED", f"the instance refuses its toggles: {refusal}", logs))
    problems += _lost(place, current, seen)
    return "degraded" if problems else "running", problems, seen


def _lost(place: Place, current: Current, seen: dict[str, Any]) -> list[Problem]:
    """Whether the session journal is another one than the deployment found."""
    recorded = current.deployment.state if current.deployment else ""
    now = (seen.get("state") or {}).get("id", "")
    if not recorded or not now or recorded == now:
        return []
    what = f"the state of {place.name} was lost: its sessions since the deployment are gone"
    return [Problem("DC-STATE-LOST", what, f"dcops restart {place.name} records the new one")]


def _turned_off(place: Place, current: Current) -> list[Problem]:
    """Whether new turns are switched off: a decision, which somebody may have forgotten."""
    if current.record is None:
        return []
    schema = current.record.revision.schema
    switch = core_toggles.master(schema)
    if not switch or core_toggles.effective(current.toggles.values, schema)[switch]:
        return []
    what = f"no new turns start in {place.name}: {switch} is off"
    return [Problem("DC-TURNS-OFF", what, f"dcops toggle set {switch} true --env {place.name}")]


def _interrupted(place: Place, left: Unfinished) -> Problem:
    do = f"dcops resume {place.name}, or dcops abort {place.name}"
    return Problem("DC-UNFINISHED", interrupted(left, place.name), do)


def _instances(current: Current, seen: dict[str, Any]) -> tuple[InstanceStatus, ...]:
    order = ("serving", "candidate", "warm", "draining", "twin", "model")
    rows = [
        InstanceStatus(
            id=each.id,
            role=current.roles.get(each.id, each.role),
            release=each.release,
            started=each.started,
            status=each.status,
            restarts=each.restarts,
            turns=seen.get("running_turns") if each.id == current.serving else None,
        )
        for each in current.instances.values()
        if current.failed is None or each.id != current.failed.instance
    ]
    return tuple(sorted(rows, key=lambda row: (order.index(row.role), -row.started)))


def _failed(current: Current) -> dict[str, Any] | None:
    kept = current.failed
    if kept is None:
        return None
    return {name: getattr(kept, name) for name in ("instance", "release", "at", "step", "error")}


def _toggles(current: Current, seen: dict[str, Any]) -> ToggleStatus:
    if current.record is None:
        return ToggleStatus(current.toggles.generation)
    schema = current.record.revision.schema
    values = core_toggles.effective(core_toggles.project(current.toggles.values, schema), schema)
    return ToggleStatus(current.toggles.generation, core_toggles.digest(values), followed(seen))


def _problem(error: DcopsError) -> Problem:
    return Problem(error.code, f"{error.what}{f': {error.why}' if error.why else ''}", error.do)
