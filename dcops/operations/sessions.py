"""The conversations of an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dcops.operations.current import spoken_to, visit

if TYPE_CHECKING:
    from dcops.operations.world import World


def list_sessions(world: World, environment: str) -> list[dict[str, Any]]:
    """Sessions as the agent tells of them, the newest first; those made by checks are left out.

    Raises:
        PreconditionMissing: Nothing is deployed, or nothing answers.
    """
    place = visit(world, environment)
    with spoken_to(place):
        sessions = place.client().sessions()
    return [session for session in sessions if not session.get("synthetic")]
