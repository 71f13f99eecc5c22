"""Stop, start, restart and take down what is deployed."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from dcops.core.deployment import Entry
from dcops.errors import PreconditionMissing
from dcops.operations.current import Current, nothing_serves, observe, refuse_unfinished, tell_interrupted
from dcops.operations.deploy import Confirm, DeployReport, carry_out
from dcops.operations.planning import make_plan, small_plan
from dcops.operations.steps.build import tree
from dcops.operations.steps.power import bring_back
from dcops.operations.transaction import transaction
from dcops.records.lock import actor

if TYPE_CHECKING:
    from dcops.core.plan import Plan
    from dcops.operations.world import Place, World

LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class LifecycleReport:
    """How a stop, start or down ended."""

    environment: str
    result: Literal["stopped", "started", "down"]
    url: str
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def stop(world: World, environment: str, *, reason: str = "") -> LifecycleReport:
    """End proxy and instances; sessions, records and the pointer stay, and ``start`` brings all back.

    What was interrupted and is unfinished stays so, and can be finished or taken back after a ``start``.
    """
    began, place = time.time(), world.open(environment)
    with transaction(place, "stop", wait=LOCK_SECONDS) as held:
        current = observe(place)
        if current.unfinished is not None or current.deployment is None:
            tell_interrupted(current.unfinished, place)
            place.engine.halt()
            _note(place, current, "stop", began, reason)
        else:
            planned = small_plan(
                place, current, current.deployment, kind="stop", steps=("halt", "record"), reason=reason
            )
            held.run(planned, current, began=began)
    return LifecycleReport(environment, "stopped", place.url, time.time() - began)


def start(world: World, environment: str, *, reason: str = "") -> LifecycleReport:
    """Bring back the proxy and what the pointer names.

    Raises:
        NotFound: Nothing was serving.
        PreconditionMissing: The engine is down, or what served was removed.
    """
    began, place = time.time(), world.open(environment)
    with transaction(place, "start", wait=LOCK_SECONDS) as held:
        place.engine.check()
        current = observe(place)
        if current.record is None:
            raise nothing_serves(environment)
        if current.serving not in current.instances:
            raise PreconditionMissing(
                "DC-INSTANCE-GONE",
                f"instance {current.serving}, which served in {environment}, is gone",
                do=f"dcops deploy {environment}",
            )
        if current.unfinished is not None or current.deployment is None:
            tell_interrupted(current.unfinished, place)
            bring_back(place, current)
            _note(place, current, "start", began, reason)
        else:
            planned = small_plan(
                place, current, current.deployment, kind="start", steps=("revive", "record"), reason=reason
            )
            held.run(planned, current, began=began)
    return LifecycleReport(environment, "started", place.url, time.time() - began)


def _note(place: Place, current: Current, kind: Literal["stop", "start"], began: float, reason: str) -> None:
    """Write it into the history, where the journal belongs to an operation that is unfinished."""
    if current.entries:
        took = round(time.time() - began, 3)
        place.history.append(Entry(kind, "ok", at=began, seconds=took, by=actor(), reason=reason))


def restart(world: World, environment: str, confirm: Confirm, *, reason: str = "") -> DeployReport:
    """Replace the serving instance by a new one of the same build, with nothing dropped."""
    place = world.open(environment)

    def planned(current: Current) -> Plan:
        refuse_unfinished(current, environment)
        if current.deployment is None:
            raise nothing_serves(environment)
        revision = replace(current.deployment.revision, toggles=current.toggles.values)
        source = str(tree(place, revision.release))
        return make_plan(place, current, revision, kind="restart", source=source, reason=reason)

    place.lock.require_free(wait=LOCK_SECONDS)
    return carry_out(place, planned(observe(place)), confirm, replan=planned)


def down(world: World, environment: str, *, with_data: bool = False) -> LifecycleReport:
    """Remove proxy, instances, secrets and records of the environment; sessions stay unless asked.

    The next deploy decides the engine and the port anew. With ``with_data`` it also removes what an earlier
    ``down`` has kept.
    """
    began, place = time.time(), world.open(environment, kept=with_data)
    with place.lock.acquire("down", wait=LOCK_SECONDS):
        place.engine.remove(with_data=with_data)
        place.local.forget(kept=None if with_data else place.choice)
    return LifecycleReport(environment, "down", place.url, time.time() - began)
