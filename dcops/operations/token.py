"""Give this machine another bearer token."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dcops.operations.current import nothing_serves
from dcops.operations.planning import small_plan
from dcops.operations.transaction import transaction
from dcops.records.access import sha256
from dcops.records.rotation import Rotation

if TYPE_CHECKING:
    from dcops.operations.world import World

LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class RotateReport:
    """What a rotation did.

    Attributes:
        token_file: Where the new token is.
        until: Seconds since the epoch when what was ended ends.
        all: Whether the tokens of other machines end too.
    """

    environment: str
    token_file: str
    until: float
    all: bool
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def rotate(
    world: World, environment: str, *, grace: float, every: bool = False, reason: str = ""
) -> RotateReport:
    """Take a new token into use, and end the one that this machine has had.

    Args:
        grace: Seconds that the old one is still let in.
        every: End the tokens of other machines too; each makes itself a new one at its next command.

    Raises:
        NotFound: Nothing serves.
        PreconditionMissing: An operation is unfinished, or another one holds the lock.
    """
    began, place = time.time(), world.open(environment)
    with transaction(place, "token", wait=LOCK_SECONDS) as held:
        current = held.look()
        if current.deployment is None:
            raise nothing_serves(environment)
        old, until = place.token, began + grace
        new = Rotation(place.local.token_file).begin()
        planned = small_plan(
            place,
            current,
            current.deployment,
            kind="token",
            steps=("access", "record"),
            reason=reason,
            options={"access": {"old": sha256(old), "new": sha256(new), "until": until, "all": every}},
        )
        values = {
            "tokens": [asdict(token) for token in place.access.tokens()],
            "rotation": {"until": until, "all": every},
        }
        held.run(planned, current, began=began, values=values)
    return RotateReport(environment, str(place.local.token_file), until, every, time.time() - began)
