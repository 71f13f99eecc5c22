"""Log lines of an environment's instances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcops.core.suggestion import did_you_mean
from dcops.errors import NotFound
from dcops.operations.current import observe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.operations.world import World


@dataclass(frozen=True, slots=True)
class Logs:
    """The lines of one instance, oldest first; while following, the iterator goes on."""

    instance: str
    lines: Iterator[str]


def read_logs(
    world: World, environment: str, *, instance: str | None = None, lines: int = 100, follow: bool = False
) -> Logs:
    """Lines of one instance.

    Args:
        instance: Its id, or a role that one has; None for the one that serves.
        lines: How many from the end.
        follow: Wait for new ones.

    Raises:
        NotFound: Nothing serves, or there is no such instance.
    """
    place = world.open(environment)
    current = observe(place)
    chosen = current.serving if instance is None else instance
    if chosen not in current.instances:
        by_role = {current.roles.get(name, state.role): name for name, state in current.instances.items()}
        chosen = by_role.get(chosen, "")  # type: ignore[call-overload]
    if not chosen:
        known = did_you_mean(instance or "", current.instances)
        raise NotFound(
            "DC-INSTANCE-UNKNOWN",
            f"{environment} has no instance {instance}" if instance else f"nothing serves in {environment}",
            why=known,
            do=f"dcops status {environment}",
        )
    return Logs(chosen, place.engine.logs(chosen, lines=lines, follow=follow))
