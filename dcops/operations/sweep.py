"""Remove what crashes and drains left behind; never what serves, is warm, or belongs to a running plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.operations import instances
from dcops.operations.drift import recorded

if TYPE_CHECKING:
    from collections.abc import Collection

    from dcops.operations.current import Current
    from dcops.operations.world import Place


def leftovers(current: Current, keep: Collection[str] = ()) -> list[str]:
    """Instances that nothing needs: candidates and twins without a plan, drained ones that have ended.

    What runs without a record was started by somebody else: `repair` asks before it stops that.
    """
    failed = current.failed.instance if current.failed else ""
    spared = {current.serving, current.model, failed, *keep}
    if (newest := recorded(current)) in current.instances:
        spared.add(newest)  # wherever the pointer leads
    ended = {name for name, state in current.instances.items() if state.status in {"exited", "failed"}}
    return [
        name
        for name in sorted(current.instances.keys() | current.records.keys())
        if name not in spared
        and (
            name not in current.instances
            or name in ended
            or (
                name in current.records
                and current.roles.get(name) in {None, "candidate", "twin", "serving", "model"}
            )
        )
    ]


def sweep(place: Place, current: Current, keep: Collection[str] = ()) -> None:
    """Remove the leftovers; the lock must be held."""
    place.engine.sweep()
    for name in leftovers(current, keep):
        record = current.records.get(name)
        if record is not None:
            instances.remove(place, record)
        elif place.engine.address(name) not in {current.pointer, current.model_pointer}:
            place.engine.stop(name)
