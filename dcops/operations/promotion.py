"""The way of a release from one environment to the next: only what was proven there, or exactly that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.errors import PreconditionMissing, UsageError
from dcops.operations.current import nothing_serves, observe

if TYPE_CHECKING:
    from dcops.core.deployment import Deployment, Entry
    from dcops.operations.current import Current
    from dcops.operations.world import Place, World


def served_by(world: World, origin: str, place: Place) -> tuple[Place, Deployment]:
    """What an environment serves now, for the deploy of another one.

    Raises:
        UsageError: It is the same one.
        PreconditionMissing: It is not deployed.
        NotFound: There is no such environment, or nothing serves in it.
    """
    if origin == place.name:
        raise UsageError(
            "DC-FROM-ITSELF", f"{origin} cannot be deployed from itself", do="name another environment"
        )
    there = world.open(origin)
    deployment = observe(there).deployment
    if deployment is None:
        raise nothing_serves(origin)
    return there, deployment


def refuse_unproven(place: Place, current: Current, release: str) -> None:
    """Hold a release against ``after`` in environment.yaml; one that serves already has passed.

    Raises:
        PreconditionMissing: The environment named there has not served it, or not verified it before.
    """
    after, serving = place.environment.after, current.deployment
    if not after or (serving is not None and serving.revision.release == release):
        return
    try:
        there = observe(place.world.open(after))
    except PreconditionMissing as error:
        entries, serves, do = [], error.what, error.do
    else:
        entries = there.entries
        serves, do = _way(place, there)
    if not _proven(entries, release):
        raise PreconditionMissing(
            "DC-NOT-VERIFIED-BEFORE",
            f"{release[:12]} is no release that {after} has served and verified, as {place.name} wants it",
            why=serves,
            do=do,
            after=after,
            release=release,
        )


def _way(place: Place, there: Current) -> tuple[str, str]:
    """What the earlier environment serves, and how that comes to this one."""
    after, deployment = place.environment.after, there.deployment
    if deployment is None:
        return f"nothing serves in {after}", f"dcops deploy {after}"
    onward = f"dcops deploy {place.name} --from {after}"
    if _proven(there.entries, deployment.revision.release):
        return f"{after} serves {deployment.revision.short}", onward
    return (
        f"{after} serves {deployment.revision.short}, which it has not verified",
        f"deploy a release to {after} that passes its suites, then {onward}",
    )


def _proven(entries: list[Entry], release: str) -> bool:
    return any(
        entry.deployment is not None
        and entry.deployment.revision.release == release
        and entry.data.get("verification", {}).get("verdict") == "pass"
        for entry in entries
    )
