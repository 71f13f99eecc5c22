"""What was done in an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.operations.current import visit

if TYPE_CHECKING:
    from dcops.core.chain import Chain
    from dcops.core.deployment import Entry
    from dcops.operations.world import World


def read_history(world: World, environment: str, *, limit: int | None = None) -> list[Entry]:
    """Entries, the newest first.

    Args:
        limit: At most so many; None for all.

    Raises:
        PreconditionMissing: The environment was never deployed, or a newer dcops wrote its history.
    """
    entries = visit(world, environment).history.entries()
    return entries[::-1][:limit]


def verify_history(world: World, environment: str) -> Chain:
    """Whether each entry still follows the one before it.

    Raises:
        CheckFailed: One does not, so somebody changed the history.
        PreconditionMissing: The environment was never deployed.
    """
    return visit(world, environment).history.verify()
