"""Stop, start, restart and take down what is deployed."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from dcops.errors import PreconditionMissing
from dcops.operations.current import Current, nothing_serves, observe
from dcops.operations.deploy import Confirm, DeployReport, carry_out
from dcops.operations.planning import make_plan, small_plan
from dcops.operations.steps.build import tree
from dcops.operations.steps.power import bring_back
from dcops.operations.transaction import transaction

if TYPE_CHECKING:
    from dcops.core.plan import Plan
    from dcops.operations.world import World

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
            place.engine.halt()
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
            bring_back(place, current)
        else:
            planned = small_plan(
                place, current, current.deployment, kind="start", steps=("revive", "record"), reason=reason
            )
            held.run(planned, current, began=began)
    return LifecycleReport(environment, "started", place.url, time.time() - began)


def restart(world: World, environment: str, confirm: Confirm, *, reason: str = "") -> DeployReport:
    """Replace the serving instance by a new one of the same build, with nothing dropped."""
    place = world.open(environment)

    def planned(current: Current) -> Plan:
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
