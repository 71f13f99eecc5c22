"""Make the plan: read what is asked and what runs, decide the steps. Nothing is built, locked or written."""

from __future__ import annotations

import secrets
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

from dcops.core import toggles as core_toggles
from dcops.core.plan import OUTAGE, STEPS, Plan, Step
from dcops.core.toggles import changes
from dcops.errors import PreconditionMissing
from dcops.operations.current import refuse_unfinished
from dcops.operations.differences import proxy_changes, revision_changes, state_changes
from dcops.operations.hooks import POST_DEPLOY, POST_ROLLBACK, PRE_BUILD, PRE_SWITCH, present
from dcops.operations.session_journal import migration
from dcops.operations.steps.build import model_revision
from dcops.operations.steps.start import proxy_record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dcops.core.deployment import Deployment, Revision
    from dcops.core.environment import Environment
    from dcops.operations.current import Current
    from dcops.operations.world import Place

Kind = Literal["deploy", "rollback", "restart"]
Small = Literal["toggle", "stop", "start", "maintenance", "token"]


def configuration(environment: Environment) -> dict[str, Any]:
    """What an environment gives to its instances: a difference needs a new instance."""
    return {
        "model": environment.model,
        "limits": asdict(environment.limits),
        "variables": dict(environment.variables),
        "hosts": list(environment.hosts),
        "egress": list(environment.egress),
        "drain_timeout": environment.drain_timeout,
        "sessions": {} if environment.sessions_keep is None else {"keep": environment.sessions_keep},
    }


def set_values(
    values: Mapping[str, Any], sets: Mapping[str, str], schema: Mapping[str, Any]
) -> dict[str, Any]:
    """Toggle values with those of the command line over them.

    Raises:
        UsageError: A toggle or value is wrong, alone or together with the others.
    """
    result = dict(values)
    for name, text in sets.items():
        result[name] = core_toggles.parse(name, text, schema)
    if found := core_toggles.validate(result, schema):
        raise core_toggles.invalid(found)
    return result


def make_plan(
    place: Place,
    current: Current,
    revision: Revision,
    *,
    kind: Kind,
    source: str = "",
    reason: str = "",
    undoes: int | None = None,
    restores: Deployment | None = None,
    suites: Sequence[str] = (),
    breaking: bool = False,
    data: str = "",
) -> Plan:
    """The plan that makes ``revision`` serve.

    Args:
        source: What its build can be made from; empty when its build must be there.
        undoes: Number of the deployment that a rollback takes back.
        restores: Deployment that it returns to; one that served needs no new verification.
        suites: What the twin is verified by; empty for no twin.
        breaking: Whether the session journal may be migrated so that what runs cannot read it.
        data: Backup whose sessions and workspace take the place of those that are there.

    Raises:
        PreconditionMissing: Another operation is half done, tools of a real model would run on the host as
            the user without the environment saying so, or the release and the session journal do not fit.
    """
    refuse_unfinished(current, place.name)
    _refuse_unisolated(place, revision)
    serving = current.deployment
    migrates = None if data else migration(place, current, revision, breaking=breaking)
    outage = bool(data) or (migrates is not None and migrates.breaks)
    candidate = _candidate(current, revision, kind=kind, outage=outage)
    fresh = candidate not in current.records
    verified = restores is not None or kind == "restart"
    twin = f"twin-{secrets.token_hex(3)}" if fresh and suites and not verified else ""
    steps = _with_state(
        _steps(
            place,
            current,
            revision,
            candidate=candidate,
            fresh=fresh,
            twin=twin,
            backup=not restores,
            kind=kind,
        ),
        migrates=migrates is not None,
        outage=outage,
        data=bool(data),
    )
    # What a rollback returns to takes its own place again, with what it had set.
    returned = restores.toggles_set if restores else {}
    toggles_set = _toggles_set(current, revision) if kind == "deploy" else returned
    if kind != "rollback" and serving and not toggles_set and serving.revision.like(revision):
        # Another instance of the same takes its place, also for a later rollback.
        toggles_set, restores = serving.toggles_set, serving
    proxy = {"proxy": proxy_record(place).spec.digest} if STEPS["proxy"] in steps else {}
    return replace(
        _unchanged(place, current, kind, revision, reason),
        candidate=candidate,
        options=proxy | ({"restore": data} if data else {}),
        twin=twin,
        steps=tuple(steps),
        suites=tuple(suites) if twin else (),
        toggles_set=toggles_set,
        undoes=undoes,
        restores=restores.number if restores else None,
        source=source,
        changes=(
            *revision_changes(current, revision),
            *state_changes(migrates, outage=outage),
            *proxy_changes(place, current),
        ),
    )


def small_plan(
    place: Place,
    current: Current,
    serving: Deployment,
    *,
    kind: Small,
    steps: Sequence[str],
    reason: str = "",
    toggles: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
) -> Plan:
    """The plan of an operation that leaves the serving instance where it is.

    Args:
        toggles: Values that shall be in force; those that are when None.
    """
    values = current.toggles.values if toggles is None else dict(toggles)
    revision = replace(serving.revision, toggles=values)
    return replace(
        _unchanged(place, current, kind, revision, reason),
        steps=tuple(STEPS[name] for name in steps),
        toggles_set=_toggles_set(current, revision),
        options=dict(options or {}),
        changes=tuple(revision_changes(current, revision)),
    )


def _unchanged(place: Place, current: Current, kind: Kind | Small, revision: Revision, reason: str) -> Plan:
    """A plan without steps: what serves goes on."""
    return Plan(
        id=f"{kind}-{secrets.token_hex(4)}",
        kind=kind,
        environment=place.name,
        engine=place.choice.engine,
        revision=revision,
        current=current.deployment,
        before=current.toggles,
        candidate=current.serving,
        twin="",
        based_on=current.digest,
        steps=(),
        reason=reason,
    )


def _refuse_unisolated(place: Place, revision: Revision) -> None:
    environment = place.environment
    if place.choice.engine == "process" and revision.real_model and environment.isolation != "none":
        raise PreconditionMissing(
            "DC-ISOLATION",
            f"{environment.name} would let the model's tools run on this machine as you",
            why="model: api on the process engine has no isolation",
            do="use Docker (dcops deploy --engine docker), or write `isolation: none` into environment.yaml",
        )


def _steps(
    place: Place,
    current: Current,
    revision: Revision,
    *,
    candidate: str,
    fresh: bool,
    twin: str,
    backup: bool,
    kind: Kind,
) -> list[Step]:
    switches = candidate != current.serving
    # A fresh candidate starts with the new values; one that runs already must be told, unless it knows.
    knows = current.generations.get(candidate) == current.toggles.generation
    toggles = not fresh and not (knows and current.toggles.values == revision.toggles)
    proxy = not current.proxy.running or current.proxy.configuration != proxy_record(place).spec.digest
    scripted = bool(twin) or not revision.real_model
    model = scripted and (needs_model(place, current) if fresh else not current.runs(current.model))
    build = model or (fresh and not place.engine.has_build(revision.build))
    hooks = present(place) if kind in {"deploy", "rollback"} else frozenset()
    record = switches or toggles or proxy or model
    wanted = {
        "pre-build": build and PRE_BUILD in hooks,
        "build": build,
        "proxy": proxy,
        "model": model,
        "start": fresh,
        "probe": fresh,
        "verify": bool(twin),
        "backup": backup and current.deployment is not None and _replaces(kind, switches, toggles),
        "toggles": toggles,
        "pre-switch": switches and PRE_SWITCH in hooks,
        "switch": switches,
        "smoke": switches or proxy,
        "bake": switches and kind == "deploy" and place.environment.bake.seconds > 0,
        "record": record,
        "settle": switches and current.record is not None,
        "prune": switches and kind == "deploy",
        "post-deploy": record and kind == "deploy" and POST_DEPLOY in hooks,
        "post-rollback": record and kind == "rollback" and POST_ROLLBACK in hooks,
    }
    return [STEPS[name] for name, needed in wanted.items() if needed]


def _with_state(steps: list[Step], *, migrates: bool, outage: bool, data: bool) -> list[Step]:
    """The steps with those for the session journal; where nothing may run beside them, in another order.

    Then everything that can be done before requests fail is, and the backup has all that was said.
    """
    added = [name for name, needed in {"restore": data, "migrate": migrates}.items() if needed]
    if not outage:
        return [each for step in steps for each in (*_before(step, added), step)]
    later = [step.id for step in steps].index("start")
    before = [*steps[:later], *(step for step in steps if step.id == "verify")]
    moved = {"verify", "backup"}
    return [
        *before,
        STEPS["stop"],
        *(OUTAGE[name] for name in ("backup", *added)),
        *(step for step in steps[later:] if step.id not in moved),
    ]


def _before(step: Step, added: list[str]) -> list[Step]:
    return [STEPS[name] for name in added] if step.id == "start" else []


def _replaces(kind: Kind, switches: bool, toggles: bool) -> bool:
    """Whether something goes away that only a backup could bring back."""
    return (switches and kind == "deploy") or ((switches or toggles) and kind == "rollback")


def needs_model(place: Place, current: Current) -> bool:
    """Whether no scripted model runs, or one of another version of dcops."""
    record = current.records.get(current.model)
    return (
        record is None
        or not current.runs(current.model)
        or record.revision.build != model_revision(place).build
    )


def _candidate(current: Current, revision: Revision, *, kind: Kind, outage: bool) -> str:
    """The instance that will serve: the one that does, a warm one, or a new name."""
    serving = current.deployment
    same = serving is not None and serving.revision.like(revision) and current.runs(current.serving)
    # Without roles it reads its toggles only when it starts.
    same = same and (revision.roles or current.toggles.values == revision.toggles)
    if same and not outage and kind != "restart":
        return current.serving
    warm = _warm(current, revision) if kind == "rollback" and not outage else ""
    return warm or _name(revision)


def _warm(current: Current, revision: Revision) -> str:
    for name in current.with_role("warm"):
        if current.runs(name) and current.records[name].revision.like(revision):
            return name
    return ""


def _name(revision: Revision) -> str:
    return f"{revision.release[:7]}-{secrets.token_hex(3)}"


def _toggles_set(current: Current, revision: Revision) -> dict[str, list[Any]]:
    return {each.name: [each.old, each.new] for each in changes(current.toggles.values, revision.toggles)}
