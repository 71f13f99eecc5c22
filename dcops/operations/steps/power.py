"""Stop an environment, and start what served in it again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.operations.instances import await_ready
from dcops.operations.steps.start import restore_proxy

if TYPE_CHECKING:
    from dcops.operations.current import Current
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place


def halt(run: Run) -> None:
    run.place.engine.halt()


def revive(run: Run) -> None:
    bring_back(run.place, run.current)


def bring_back(place: Place, current: Current) -> None:
    """Start keeper, proxy and what the pointer names; return when it takes work.

    What an unfinished operation has stopped stays so: it would write what that operation replaces.
    """
    names = (current.model,) if current.stopped else (current.model, current.serving)
    place.engine.revive([name for name in names if name in current.instances])
    restore_proxy(place)
    if current.stopped:
        place.say("", f"{current.serving} stays stopped until dcops resume or dcops abort")
        return
    await_ready(place, current.records[current.serving], timeout=place.environment.ready_timeout)
