"""What runs now in an environment: read from the engine and its control store, never assumed."""

from __future__ import annotations

import contextlib
import json
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dcops.core.deployment import Deployment, Entry, ToggleState
from dcops.core.plan import digest
from dcops.core.protocols import InstanceState, ProxyState, Role
from dcops.errors import NotFound, PreconditionMissing
from dcops.records import failed, history, instances, journal, proxy, toggles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from dcops.operations.world import Place, World
    from dcops.records.failed import FailedCandidate
    from dcops.records.instances import InstanceRecord
    from dcops.records.journal import Unfinished
    from dcops.records.proxy import ProxyRecord

POINTER = "current"
MODEL_POINTER = "model"
MAINTENANCE = "maintenance"


@dataclass(frozen=True)
class Current:
    """One look at an environment.

    Attributes:
        pointer: What the pointer file holds.
        model_pointer: What the scripted model's pointer file holds.
        serving: Id of the instance that the pointer names; empty when nothing serves.
        model: Id of the scripted model's instance, empty when none runs.
        roles: The role in each instance's control file.
        generations: The toggle generation in each instance's control file.
        failed: The candidate that failed last, which is kept stopped.
        proxied: The proxy as it was last started.
        maintenance: Seconds that users are told to wait; None when there is no maintenance.
    """

    pointer: str = ""
    model_pointer: str = ""
    serving: str = ""
    model: str = ""
    instances: dict[str, InstanceState] = field(default_factory=dict)
    records: dict[str, InstanceRecord] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    entries: list[Entry] = field(default_factory=list)
    toggles: ToggleState = field(default_factory=ToggleState)
    unfinished: Unfinished | None = None
    failed: FailedCandidate | None = None
    proxy: ProxyState = field(default_factory=lambda: ProxyState(running=False))
    proxied: ProxyRecord | None = None
    maintenance: int | None = None

    @cached_property
    def deployment(self) -> Deployment | None:
        return history.serving(self.entries, self.serving) if self.serving else None

    @cached_property
    def record(self) -> InstanceRecord | None:
        return self.records.get(self.serving)

    @cached_property
    def stopped(self) -> bool:
        """Whether an unfinished operation has stopped what served, so that nothing serves until it ends."""
        left = self.unfinished
        return left is not None and "stop" in {*left.done, left.started} - {*left.undone}

    @cached_property
    def digest(self) -> str:
        """Of everything that a plan relies on; another one makes the plan stale."""
        number = self.deployment.number if self.deployment else 0
        alive = sorted(filter(self.runs, self.instances))
        return digest([self.serving, number, self.toggles.generation, alive])

    def with_role(self, role: Role) -> list[str]:
        """Instances that run in a role, the newest first."""
        found = [name for name, each in self.roles.items() if each == role and name in self.instances]
        return sorted(found, key=lambda name: self.instances[name].started, reverse=True)

    def runs(self, instance: str) -> bool:
        """Whether its keeper has it up; one that was just started counts."""
        state = self.instances.get(instance)
        return state is not None and state.status in {"starting", "running"}


def observe(place: Place) -> Current:
    """Look once: two round trips to the store, one to the engine."""
    store = place.store
    names = instances.listed(store)
    records_of_it = (history.PATH, toggles.PATH, journal.PATH, proxy.PATH, failed.PATH)
    fixed = (POINTER, MODEL_POINTER, MAINTENANCE, *records_of_it)
    role_files = {name: f"instances/{name}/role.json" for name in names}
    toggle_files = {name: f"instances/{name}/toggles.json" for name in names}
    contents = store.read(*fixed, *map(instances.path, names), *role_files.values(), *toggle_files.values())
    records = {
        name: instances.parse(content, name) for name in names if (content := contents[instances.path(name)])
    }
    by_address = {place.engine.address(name): name for name in names}
    pointer, model_pointer = _text(contents[POINTER]), _text(contents[MODEL_POINTER])
    return Current(
        pointer=pointer,
        model_pointer=model_pointer,
        serving=by_address.get(pointer, ""),
        model=by_address.get(model_pointer, ""),
        instances={state.id: state for state in place.engine.instances()},
        records=records,
        roles=_fields(contents, role_files, "role"),
        generations=_fields(contents, toggle_files, "generation"),
        entries=history.parse(contents[history.PATH]),
        toggles=toggles.parse(contents[toggles.PATH]),
        unfinished=journal.parse(contents[journal.PATH]),
        failed=failed.parse(contents[failed.PATH]),
        proxy=place.engine.proxy(),
        proxied=proxy.parse(contents[proxy.PATH]),
        maintenance=_seconds(contents[MAINTENANCE]),
    )


def interrupted(left: Unfinished, name: str) -> str:
    """What was cut short, by whom, where and when, as one sentence."""
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(left.at))
    step = f" at step '{left.started}'" if left.started else " before its first step"
    word = {"token": "rotation of the token", "toggle": "change of toggles"}.get(
        left.plan.kind, left.plan.kind
    )
    return f"a {word} of {name}, begun {at} by {left.by}, was interrupted{step}"


def tell_interrupted(left: Unfinished | None, place: Place) -> None:
    """Say in one line that something is half done, and go on."""
    if left is not None:
        commands = f"dcops resume {place.name}, or dcops abort {place.name}"
        place.say("", f"{interrupted(left, place.name)}: {commands}")


def look_for_interrupted(place: Place) -> None:
    """The same for what only reads and does not hold the lock: whose journal it is may still be at work."""
    if (left := place.journal.unfinished()) is not None and place.lock.holder() is None:
        tell_interrupted(left, place)


def visit(world: World, name: str) -> Place:
    """An environment to read from; what was interrupted there is said.

    Raises:
        NotFound: No such environment.
        PreconditionMissing: It was never deployed, or its engine cannot be reached.
    """
    place = world.open(name)
    look_for_interrupted(place)
    return place


def refuse_unfinished(current: Current, name: str) -> None:
    """Nothing new starts while something is half done."""
    left = current.unfinished
    if left is not None:
        down = current.stopped or not current.proxy.running
        switched = "switch" in {*left.done, left.started} and current.serving == left.plan.candidate
        serves = "nothing" if down else "the new instance" if switched else "what served before"
        raise PreconditionMissing(
            "DC-UNFINISHED",
            interrupted(left, name),
            why=f"{serves} serves until it is finished or taken back",
            do=f"dcops resume {name}, or dcops abort {name}",
        )


def nothing_serves(name: str) -> NotFound:
    return NotFound("DC-NOTHING-SERVES", f"nothing serves in {name}", do=f"dcops deploy {name}")


def refuse_down(current: Current, name: str) -> None:
    """What needs an answer from an instance is told at once that none can come.

    Raises:
        PreconditionMissing: The proxy does not run.
    """
    if not current.proxy.running:
        raise _down(name)


@contextmanager
def spoken_to(place: Place) -> Iterator[None]:
    """Say of what does not answer that it is down, where it is.

    Raises:
        PreconditionMissing: The proxy does not run.
    """
    try:
        yield
    except PreconditionMissing as error:
        if error.code in {"DC-UNREACHABLE", "DC-INSTANCE-DOWN"} and not place.engine.proxy().running:
            raise _down(place.name) from error
        raise


def _down(name: str) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-ENVIRONMENT-DOWN", f"{name} is down: the proxy does not run", do=f"dcops start {name}"
    )


def _fields(contents: Mapping[str, bytes | None], files: Mapping[str, str], field: str) -> dict[str, Any]:
    """A field of each instance's control file; one that is missing or damaged is left out, and is drift."""
    found = {}
    for name, path in files.items():
        with contextlib.suppress(ValueError, KeyError, TypeError):
            found[name] = json.loads(contents[path] or b"")[field]
    return found


def _text(content: bytes | None) -> str:
    return (content or b"").decode(errors="replace").strip()


def _seconds(content: bytes | None) -> int | None:
    """The proxy shuts users out as long as the file is there, whatever it holds."""
    if content is None:
        return None
    text = _text(content)
    return int(text) if text.isdecimal() else 0
