"""Switch a feature off in an emergency: at once, whatever else goes on, and for good as soon as it can be.

There is one way in which toggles are changed for good, and it needs the lock. While another operation holds
it, the serving instance alone is held off, again and again: its document says "off" without being a new
generation, and is replaced by nothing but what stands there. What the holder writes is never lost by that.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from dcops.core import toggles as core_toggles
from dcops.errors import PreconditionMissing, UsageError
from dcops.operations.current import observe
from dcops.operations.toggles import change_toggles
from dcops.records.toggles import control_document

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dcops.operations.toggles import ToggleReport
    from dcops.operations.world import Place, World

HOLD_SECONDS = 0.1


def kill(world: World, environment: str, name: str = "", *, reason: str = "") -> ToggleReport:
    """Turn a toggle off, and with it those that need it.

    While another operation works on the environment its end is waited for. The serving instance is off
    meanwhile, and so is one that comes to serve.

    Args:
        name: A toggle that is a boolean; the schema's master switch when empty.

    Raises:
        UsageError: There is no such toggle, it is no boolean, or there is no master switch.
        PreconditionMissing: An operation is unfinished; the serving instance is off until it is finished or
            taken back.
        NotAcknowledged: It was written, but an instance did not say in time that it follows.
    """

    def edit(values: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
        return core_toggles.switched_off(values, _switch(name, schema), schema)

    told = False
    while True:
        try:
            return change_toggles(world, environment, edit, reason, wait=0)
        except PreconditionMissing as error:
            if error.code not in {"DC-LOCK-HELD", "DC-UNFINISHED"}:
                raise
            place = world.open(environment)
            switch = hold_off(place, name)
            if error.code == "DC-UNFINISHED":
                error.why = f"{error.why}; {switch} is off at the serving instance, but not recorded"
                error.do = f"{error.do}; then this command again"
                raise
            if not told:
                place.say("", f"{error.what}: {error.why}")
                place.say("", f"{switch} is held off at what serves; it is recorded when that has ended")
            told = True
            time.sleep(HOLD_SECONDS)


def hold_off(place: Place, name: str) -> str:
    """Have the serving instance read that a toggle is off, whoever holds the lock.

    Returns:
        The toggle's name.

    Raises:
        UsageError: It cannot be turned off.
    """
    current = observe(place)
    if current.record is None:
        return name or "the master switch"
    schema = current.record.revision.schema
    switch = _switch(name, schema)
    path = f"instances/{current.serving}/toggles.json"
    content = place.store.read(path)[path]
    document = json.loads(content or b"{}")
    values = document.get("values", {})
    off = core_toggles.switched_off(values, switch, schema)
    if off != values:
        # Where somebody was quicker, the next round looks again.
        place.store.swap(path, control_document(document.get("generation", 0), off), expect=content)
    return switch


def _switch(name: str, schema: Mapping[str, Any]) -> str:
    """The toggle that is meant.

    Raises:
        UsageError: It cannot be turned off.
    """
    name = name or core_toggles.master(schema)
    if not name:
        raise UsageError(
            "DC-TOGGLE-NO-MASTER",
            "this implementation declares no master switch; nothing was changed",
            why="no toggle of its schema has x-master",
            do="name the toggle to turn off: dcops toggle kill NAME",
        )
    if core_toggles.declaration(name, schema).get("type") != "boolean":
        raise UsageError(
            "DC-TOGGLE-TYPE",
            f"{name} cannot be turned off: it is no boolean; nothing was changed",
            do=f"dcops toggle set {name} VALUE",
            toggle=name,
        )
    return name
