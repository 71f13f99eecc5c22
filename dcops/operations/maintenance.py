"""Answer users that the agent is under maintenance, while it goes on running."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from dcops import proxy
from dcops.errors import PreconditionMissing
from dcops.operations.current import Current, nothing_serves
from dcops.operations.planning import small_plan
from dcops.operations.transaction import transaction

if TYPE_CHECKING:
    from dcops.operations.world import World

LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class MaintenanceReport:
    """What users meet now.

    Attributes:
        changed: False when it was so already.
        retry_after: Seconds that users are told to wait; None when maintenance is off.
    """

    environment: str
    result: Literal["on", "off"]
    changed: bool
    retry_after: int | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def set_maintenance(
    world: World, environment: str, retry_after: int | None, *, reason: str = ""
) -> MaintenanceReport:
    """Turn maintenance on or off; open streams stay, and it outlives deployments, stops and starts.

    Args:
        retry_after: Seconds that users are told to wait; None turns it off.

    Raises:
        NotFound: Nothing serves.
        PreconditionMissing: The proxy was started by a version that knows no maintenance.
    """
    began, place = time.time(), world.open(environment)
    with transaction(place, "maintenance", wait=LOCK_SECONDS) as held:
        current = held.look()
        if current.deployment is None:
            raise nothing_serves(environment)
        changed = current.maintenance != retry_after
        if changed:
            if retry_after is not None:
                _refuse_old_proxy(current, environment)
            planned = small_plan(
                place,
                current,
                current.deployment,
                kind="maintenance",
                steps=("maintenance", "record"),
                reason=reason,
                options={"maintenance": {"on": retry_after is not None, "seconds": retry_after}},
            )
            values = {"maintenance": {"before": current.maintenance, "after": retry_after}}
            held.run(planned, current, began=began, values=values)
    return MaintenanceReport(
        environment, "off" if retry_after is None else "on", changed, retry_after, time.time() - began
    )


def _refuse_old_proxy(current: Current, environment: str) -> None:
    started = current.proxied
    if started is None or not proxy.knows_maintenance(started.spec.configuration.encode()):
        raise PreconditionMissing(
            "DC-PROXY-OLD",
            f"the proxy of {environment} was started by an earlier version and knows no maintenance",
            do=f"dcops deploy {environment} starts it anew; dcops plan {environment} says what that cuts",
        )
