"""Mend drift: what is derived at once, what stops something only when somebody agrees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from dcops.core.deployment import ToggleState, recorded_toggles
from dcops.errors import DcopsError
from dcops.operations import instances
from dcops.operations.current import MODEL_POINTER, POINTER, Current
from dcops.operations.damaged import SUFFIX, set_aside
from dcops.operations.delivery import deliver
from dcops.operations.drift import Drift, differences, token_files
from dcops.operations.evidence import Evidence, gather
from dcops.operations.steps.build import build, files_of, model_revision, model_source
from dcops.operations.steps.power import bring_back
from dcops.operations.steps.start import ensure_model, restore_proxy
from dcops.operations.transaction import transaction
from dcops.records import access, proxy

if TYPE_CHECKING:
    from dcops.operations.transaction import Transaction
    from dcops.operations.world import Place, World

Agree = Callable[[Drift], bool]
LOCK_SECONDS = 10.0
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class RepairReport:
    """What was mended, and what is left."""

    environment: str
    mended: tuple[Drift, ...]
    left: tuple[Drift, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def deployed(world: World) -> list[str]:
    """Names of the environments that are deployed."""
    found = (world.environments.load(name) for name in world.environments.names())
    return [each.name for each in found if world.choice(each) is not None]


def repair(world: World, environment: str, agree: Agree) -> RepairReport:
    """Mend what can be mended.

    Args:
        agree: Asked before something is stopped.

    Raises:
        PreconditionMissing: An operation is unfinished, or another one holds the lock.
    """
    place = world.open(environment)
    with transaction(place, "repair", wait=LOCK_SECONDS) as held:
        for path in set_aside(place.store):
            place.say("record", f"{path} could not be read; it is kept as {path}{SUFFIX}")
        found: list[Drift] = []
        refused: set[str] = set()
        left = _look(held)[2]
        for _ in range(ROUNDS):
            found += [drift for drift in left if drift not in found]
            # Mending one thing may show another, as an instance that starts again is asked what it follows.
            if not _round(held, left, agree, refused):
                break
            left = _look(held)[2]
    return RepairReport(environment, tuple(drift for drift in found if drift not in left), tuple(left))


def _look(held: Transaction) -> tuple[Current, Evidence, list[Drift]]:
    current = held.look()
    evidence = replace(gather(held.place, current), busy=False)  # the lock is ours
    return current, evidence, differences(current, evidence)


def _round(held: Transaction, left: list[Drift], agree: Agree, refused: set[str]) -> bool:
    """Mend once what is there; whether anything was tried."""
    tried = False
    for drift in left:
        if drift.remedy == "deploy" or (drift.remedy == "stops" and drift.name in refused):
            continue
        if drift.remedy == "stops" and not agree(drift):
            refused.add(drift.name)
            continue
        current, evidence, now = _look(held)
        if drift in now:
            tried = True
            _mend(held.place, current, evidence, drift)
    return tried


def _mend(place: Place, current: Current, evidence: Evidence, drift: Drift) -> None:
    try:
        MENDS[drift.kind](place, current, evidence, drift)
    except DcopsError as error:
        place.say(drift.kind, f"not mended: {error.what}{f': {error.why}' if error.why else ''}")


def _pointer(place: Place, current: Current, _evidence: Evidence, drift: Drift) -> None:
    instances.set_role(place, current.records[drift.name], "serving")
    place.engine.keep(drift.name, always=True)
    place.store.write({POINTER: place.engine.address(drift.name).encode() + b"\n"})


def _model(place: Place, current: Current, _evidence: Evidence, _drift: Drift) -> None:
    running = [name for name, role in current.roles.items() if role == "model" and current.runs(name)]
    if running:
        place.store.write({MODEL_POINTER: place.engine.address(running[0]).encode() + b"\n"})
        return
    build(place, model_source())
    ensure_model(place, current, model_revision(place))


def _proxy(place: Place, current: Current, evidence: Evidence, _drift: Drift) -> None:
    if not current.proxy.running:
        if current.record is not None and current.serving in current.instances:
            bring_back(place, current)
        else:
            restore_proxy(place)
        return
    if evidence.proxy.spec.digest == current.proxy.configuration:
        place.store.write({proxy.PATH: evidence.proxy.dump()})
    place.local.decide(replace(place.choice, port=current.proxy.port))


def _instance(place: Place, current: Current, _evidence: Evidence, drift: Drift) -> None:
    place.engine.revive([drift.name])
    instances.await_ready(place, current.records[drift.name], timeout=place.environment.ready_timeout)


def _keeper(place: Place, _current: Current, _evidence: Evidence, drift: Drift) -> None:
    place.engine.keep(drift.name, always=True)


def _role(place: Place, current: Current, _evidence: Evidence, drift: Drift) -> None:
    record = current.records[drift.name]
    if drift.name == current.serving:
        instances.set_role(place, record, "serving")
    else:
        instances.set_role(place, record, "warm", place.environment.warm_for)


def _toggles(place: Place, current: Current, _evidence: Evidence, _drift: Drift) -> None:
    told = recorded_toggles(current.entries)
    values = current.toggles.values if told is None else told
    newest = max([current.toggles.generation, *current.generations.values()])
    moved = values != current.toggles.values or newest > current.toggles.generation
    state = ToggleState(newest + 1 if moved else newest, values)
    told_of = [record for name, record in current.records.items() if name != current.model]
    deliver(place, state, told_of)
    if current.record is not None and current.runs(current.serving):
        instances.await_acknowledged(place, current.record, timeout=5.0, generation=state.generation)


def _access(place: Place, current: Current, evidence: Evidence, drift: Drift) -> None:
    document = access.document(evidence.tokens, current.records[drift.name].revision)
    place.store.write({f"instances/{drift.name}/access.json": document})


def _tokens(place: Place, current: Current, evidence: Evidence, drift: Drift) -> None:
    if drift.name:
        place.store.write(current.records[drift.name].files())
        return
    known = set().union(*(token_files(record) for record in current.records.values()))
    unknown = evidence.token_files - known
    strangers = {
        f"operator/{each.split('/')[1]}"
        for each in unknown
        if each.startswith("operator/") and each.split("/")[1] not in current.records
    }
    place.store.write(dict.fromkeys([*sorted(unknown), *sorted(strangers)]))


def _build(place: Place, current: Current, _evidence: Evidence, _drift: Drift) -> None:
    assert current.record is not None
    revision = current.record.revision
    build(place, files_of(place, revision), expect=revision.release)


def _remove(place: Place, current: Current, _evidence: Evidence, drift: Drift) -> None:
    record = current.records.get(drift.name)
    if record is not None:
        instances.remove(place, record)
        return
    place.engine.stop(drift.name)
    place.store.write({f"instances/{drift.name}": None})


Mend = Callable[["Place", Current, Evidence, Drift], None]
MENDS: dict[str, Mend] = {
    "pointer": _pointer,
    "model": _model,
    "proxy": _proxy,
    "instance": _instance,
    "keeper": _keeper,
    "role": _role,
    "toggles": _toggles,
    "access": _access,
    "tokens": _tokens,
    "build": _build,
    "leftover": _remove,
    "stray": _remove,
}
