"""Which instance somebody means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.core.suggestion import did_you_mean
from dcops.errors import NotFound
from dcops.operations.current import nothing_serves

if TYPE_CHECKING:
    from dcops.operations.current import Current


def chosen(current: Current, environment: str, wanted: str | None) -> str:
    """The id of an instance that is there.

    Args:
        wanted: An id, or a role; ``candidate`` is also the one that failed last and is kept stopped. None
            for the one that serves.

    Raises:
        NotFound: Nothing serves, or there is no such instance.
    """
    if wanted is None:
        if current.serving not in current.instances:
            raise nothing_serves(environment)
        return current.serving
    names = [wanted, *_with_role(current, wanted)]
    if wanted == "candidate" and current.failed is not None:
        names.append(current.failed.instance)
    for name in names:
        if name in current.instances:
            return name
    raise NotFound(
        "DC-INSTANCE-UNKNOWN",
        f"{environment} has no {'candidate' if wanted == 'candidate' else f'instance {wanted}'}",
        why=did_you_mean(wanted, current.instances),
        do=f"dcops status {environment}",
    )


def _with_role(current: Current, role: str) -> list[str]:
    """Those that have a role, the newest first; one without a control file has that of its start."""
    found = [
        state for name, state in current.instances.items() if current.roles.get(name, state.role) == role
    ]
    return [state.id for state in sorted(found, key=lambda each: each.started, reverse=True)]
