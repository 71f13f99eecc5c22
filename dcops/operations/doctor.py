"""Check everything that a deployment needs, each row with its fix."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dcops.core.protocols import Finding
from dcops.core.retirement import retirements
from dcops.engines.ports import require_free
from dcops.errors import DcopsError
from dcops.keys import resolve_key
from dcops.operations.current import interrupted, observe
from dcops.operations.domain import domain_findings
from dcops.operations.drift import differences
from dcops.operations.evidence import gather
from dcops.releases.context import load_release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dcops.core.environment import Environment
    from dcops.operations.world import Place, World
    from dcops.records.local import EngineChoice

CLOCK_SECONDS = 60.0


def doctor(world: World, environment: str | None = None) -> list[Finding]:
    """Look at the engines, the environments and this machine.

    What only concerns an environment that was never deployed here is a warning, unless it is named.

    Args:
        environment: Only this one; None for all.

    Raises:
        NotFound: The named environment does not exist.
    """
    if environment is not None:
        world.environments.read(environment)
    found: list[Finding] = []
    engines: set[tuple[str, str]] = set()
    for name in [environment] if environment else world.environments.names():
        try:
            loaded = world.environments.load(name)
            choice = world.choice(loaded)
        except DcopsError as error:
            found.append(_failed(f"{name}: files", error))
            continue
        matters = choice is not None or name == environment
        rows = [*_environment(world, loaded, choice), *_engine(world, loaded, choice, engines)]
        found += rows if matters else [_softened(row) for row in rows]
    return found


def _environment(world: World, environment: Environment, choice: EngineChoice | None) -> Iterator[Finding]:
    """The files of one environment and what they refer to."""
    name = environment.name
    yield Finding(f"{name}: files", "ok", "environment.yaml and toggles.yaml fit their schemas")
    try:
        release = load_release(environment.implementation)
        yield Finding(f"{name}: implementation", "ok", f"{release.implementation.name} {release.short}")
        world.environments.check_toggles(name, release.schema)
        yield Finding(f"{name}: toggles", "ok", f"{len(environment.toggles)} values fit the schema")
        for each in retirements(environment.toggles, release.schema, datetime.now(UTC).date()):
            yield Finding(f"{name}: {each.toggle}", "warn", str(each), f"{each.do} --env {name}")
    except DcopsError as error:
        # The implementation's schema is what toggles are checked against, so one failure hides the other.
        yield _failed(f"{name}: implementation and toggles", error)
    if environment.model == "api":
        reference = environment.key
        yield _tried(
            f"{name}: key",
            f"{reference} is set",
            lambda: resolve_key(environment, world.environ, world.project.root),
        )
    port = environment.port or (choice.port if choice else 0)
    if port and not _proxy_runs(world, environment, choice):
        yield _tried(f"{name}: port", f"{port} is free", lambda: require_free(environment.bind, port))
    else:
        yield Finding(f"{name}: port", "ok", f"{port} is ours" if port else "any free one, taken at deploy")
    yield from domain_findings(environment)
    if choice is not None:
        yield _clock(world, environment, choice)
        yield from _drift(world.place(environment, choice))


def _engine(
    world: World, environment: Environment, choice: EngineChoice | None, seen: set[tuple[str, str]]
) -> Iterator[Finding]:
    """What the environment's engine says of itself, once for all environments that share it."""
    name = choice.engine if choice else environment.engine
    if name == "auto":
        missing = world.probe(world.project, environment)
        name = "process" if missing else "docker"
        why = f"process, because: {missing}" if missing else "docker: a daemon answers"
        yield Finding(f"{environment.name}: engine", "ok", f"auto would take {why}")
    if name == "process" and environment.egress:
        detail = "the process engine does not enforce it: tools reach every network"
        yield Finding(
            f"{environment.name}: egress", "warn", detail, "use Docker: dcops deploy --engine docker"
        )
    if (name, environment.base_image) not in seen:
        seen.add((name, environment.base_image))
        yield from world.engines(name, world.project, environment).findings()


def _clock(world: World, environment: Environment, choice: EngineChoice) -> Finding:
    """Records from the future mean that this clock, or the one that wrote them, is wrong."""
    check = f"{environment.name}: clock"
    try:
        entries = world.place(environment, choice).history.entries()
    except DcopsError as error:
        return _failed(f"{environment.name}: records", error)
    ahead = max((entry.at for entry in entries), default=0.0) - time.time()
    if ahead > CLOCK_SECONDS:
        detail = f"the newest record is {ahead:.0f} s in the future"
        return Finding(check, "warn", detail, "set this machine's clock: timedatectl set-ntp true")
    return Finding(check, "ok", "no record is from the future")


def _drift(place: Place) -> Iterator[Finding]:
    """Where records, engine and files say different things, as ``status`` says it too."""
    check = f"{place.name}: drift"
    try:
        current = observe(place)
        found = differences(current, gather(place, current))
    except DcopsError as error:
        yield _failed(check, error)
        return
    if current.unfinished is not None and place.lock.holder() is None:
        do = f"dcops resume {place.name}, or dcops abort {place.name}"
        yield Finding(check, "warn", interrupted(current.unfinished, place.name), do)
    for drift in found:
        yield Finding(check, "warn", drift.what, drift.do, {"kind": drift.kind, "remedy": drift.remedy})
    if not found:
        yield Finding(check, "ok", "files, records and engine say the same")


def _proxy_runs(world: World, environment: Environment, choice: EngineChoice | None) -> bool:
    try:
        return choice is not None and world.place(environment, choice).engine.proxy().running
    except DcopsError:
        return False


def _tried(check: str, ok: str, look: Callable[[], object]) -> Finding:
    try:
        look()
    except DcopsError as error:
        return _failed(check, error)
    return Finding(check, "ok", ok)


def _failed(check: str, error: DcopsError) -> Finding:
    detail = f"{error.what} ({error.why})" if error.why else error.what
    return Finding(check, "fail", detail, error.do, {"code": error.code})


def _softened(finding: Finding) -> Finding:
    return replace(finding, status="warn") if finding.status == "fail" else finding
