"""Bring a toggle generation to instances and wait until they say that they follow it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcops.operations.instances import await_acknowledged, running_turns, toggle_document
from dcops.records import toggles

if TYPE_CHECKING:
    from collections.abc import Iterable

    from dcops.core.deployment import ToggleState
    from dcops.operations.current import Current
    from dcops.operations.world import Place
    from dcops.records.instances import InstanceRecord

ACKNOWLEDGE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """One instance and how long after the write it said so; None when it did not in time."""

    instance: str
    milliseconds: int | None


def deliver(place: Place, state: ToggleState, records: Iterable[InstanceRecord]) -> None:
    """Write the generation as the record, and each instance's own projection of it, in one batch."""
    documents = {
        f"instances/{record.id}/toggles.json": toggle_document(record.revision, state) for record in records
    }
    place.store.write(toggles.files(state) | documents)


def await_generation(
    place: Place, record: InstanceRecord, generation: int, *, timeout: float = ACKNOWLEDGE_SECONDS
) -> bool:
    """Whether the instance acknowledged the generation, or a newer one, within ``timeout`` seconds.

    An implementation that knows no roles reads its toggles at its start only: nothing to wait for.
    """
    if not record.revision.roles:
        return True
    return await_acknowledged(place, record, timeout=timeout, generation=generation)


def follows_live(current: Current) -> list[InstanceRecord]:
    """Instances that run and re-read their toggles; the scripted model has none."""
    return [
        record
        for name, record in current.records.items()
        if name != current.model and current.runs(name) and record.revision.roles
    ]


def must_acknowledge(place: Place, current: Current) -> list[InstanceRecord]:
    """The serving instance, and those that still have a turn to run."""
    live = follows_live(current)
    busy = running_turns(place, [record for record in live if record.id != current.serving])
    return [record for record in live if record.id == current.serving or busy[record.id]]


def acknowledgements(
    place: Place, records: Iterable[InstanceRecord], generation: int
) -> list[Acknowledgement]:
    """Wait for each instance in turn; one deadline for all of them."""
    began = time.monotonic()
    result = []
    for record in records:
        left = max(0.0, ACKNOWLEDGE_SECONDS - (time.monotonic() - began))
        arrived = await_generation(place, record, generation, timeout=left)
        result.append(Acknowledgement(record.id, int((time.monotonic() - began) * 1000) if arrived else None))
    return result
