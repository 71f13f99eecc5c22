"""A command beside a running instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.operations.chosen import chosen
from dcops.operations.current import observe, spoken_to, visit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dcops.operations.world import World


def execute(
    world: World, environment: str, command: Sequence[str], *, instance: str | None = None, tty: bool
) -> int:
    """Run a command with an instance's variables, directory and user, and with our streams.

    Args:
        instance: Its id, or a role that one has; None for the one that serves.
        tty: Whether our stdin and stdout are a terminal that the command shall have.

    Returns:
        Its exit code as a shell says it.

    Raises:
        NotFound: Nothing serves, or there is no such instance.
        PreconditionMissing: The instance does not run.
    """
    place = visit(world, environment)
    with spoken_to(place):
        return place.engine.execute(chosen(observe(place), environment, instance), command, tty=tty)
