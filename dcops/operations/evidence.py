"""Read what drift is judged by, besides what `observe` has read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dcops.errors import DcopsError
from dcops.operations.instances import followed
from dcops.operations.planning import configuration
from dcops.operations.steps.start import proxy_record
from dcops.releases.context import load_release

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dcops.operations.current import Current
    from dcops.operations.world import Place
    from dcops.records.access import Tokens
    from dcops.records.proxy import ProxyRecord

CONTROL_FILES = ("toggles.json", "access.json")
TOKENS = ("gateway/api", "gateway/scripted", "egress")
ASK_SECONDS = 2.0


@dataclass(frozen=True)
class Evidence:
    """One look at an environment and its files.

    Attributes:
        name: Of the environment.
        busy: Whether an operation is under way.
        port: The proxy's, as this machine remembers it.
        proxy: As the environment's files ask for it.
        configuration: What the environment's files give to instances.
        toggles: Values in ``toggles.yaml``.
        release: Id of the implementation's files; empty when they cannot be read.
        pointed: Instances whose address a pointer holds, known or not.
        files: Control files of the instances, by path in the store.
        control_directories: Instances that have any.
        token_files: Paths of all operator secrets and gateway tokens.
        tokens: Who may talk to the agent.
        missing_builds: Builds of instances that the engine does not have.
        follows: The toggle generation that the serving instance acknowledges; None when it was not asked.
    """

    name: str
    busy: bool
    port: int
    proxy: ProxyRecord
    configuration: Mapping[str, Any]
    toggles: Mapping[str, Any]
    release: str
    pointed: frozenset[str]
    files: Mapping[str, bytes | None]
    control_directories: frozenset[str]
    token_files: frozenset[str]
    tokens: Tokens
    missing_builds: frozenset[str]
    follows: int | None


def gather(place: Place, current: Current, seen: Mapping[str, Any] | None = None) -> Evidence:
    """Look once: three round trips to the store, one to the engine for each build.

    Args:
        seen: What the serving instance says of itself; it is asked when absent.
    """
    environment, engine, store = place.environment, place.engine, place.store
    choice = place.local.choice() or place.choice
    seen = _ask(place, current) if seen is None else seen
    control = [f"instances/{name}/{file}" for name in current.records for file in CONTROL_FILES]
    pointers = {current.pointer, current.model_pointer} - {""}
    serving = [current.record.revision.build] if current.record else []
    return Evidence(
        name=place.name,
        busy=place.lock.holder() is not None,
        port=choice.port,
        proxy=proxy_record(replace(place, choice=replace(choice, port=environment.port or choice.port))),
        configuration=configuration(environment),
        toggles=environment.toggles,
        release=_release(place),
        pointed=frozenset(name for name in current.instances if engine.address(name) in pointers),
        files=store.read(*control) if control else {},
        control_directories=frozenset(store.list("instances")["instances"]),
        token_files=_token_files(place),
        tokens=place.access.tokens(),
        missing_builds=frozenset(build for build in serving if not engine.has_build(build)),
        follows=followed(seen) if seen else None,
    )


def _token_files(place: Place) -> frozenset[str]:
    listed = place.store.list("operator", *TOKENS)
    operators = [f"operator/{name}" for name in listed.pop("operator")]
    listed |= place.store.list(*operators) if operators else {}
    return frozenset(f"{directory}/{name}" for directory, names in listed.items() for name in names)


def _ask(place: Place, current: Current) -> Mapping[str, Any]:
    if current.record is None or not (current.proxy.running and current.runs(current.serving)):
        return {}
    try:
        return place.client(current.record, timeout=ASK_SECONDS).instance()
    except DcopsError:
        return {}


def _release(place: Place) -> str:
    try:
        return load_release(place.environment.implementation).id
    except DcopsError:
        return ""
