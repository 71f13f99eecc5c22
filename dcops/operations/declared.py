"""What the implementations of a project declare, without asking an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.core.toggles import declarations
from dcops.releases.context import load_release

if TYPE_CHECKING:
    from dcops.operations.world import World


def declared_toggles(world: World) -> set[str]:
    """Names of all toggles that some environment's implementation declares.

    Raises:
        PreconditionMissing: Files of an environment or of an implementation are bad.
    """
    names = world.environments.names()
    implementations = {world.environments.load(name).implementation for name in names}
    return {name for each in implementations for name in declarations(load_release(each).schema)}
