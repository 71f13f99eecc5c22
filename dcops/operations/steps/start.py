"""Start proxy, scripted model, candidate and twin; remove the last two again."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from dcops import proxy
from dcops.core.deployment import Revision, ToggleState
from dcops.core.protocols import ProxySpec
from dcops.errors import PreconditionMissing
from dcops.operations import candidates, instances
from dcops.operations.current import MODEL_POINTER, Current, observe
from dcops.records.proxy import PATH, ProxyRecord, parse

if TYPE_CHECKING:
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place

API_KEY = "api-key"


def proxy_record(place: Place) -> ProxyRecord:
    """The proxy that the environment's files ask for."""
    environment, port = place.environment, place.choice.port
    https = environment.https
    configuration = proxy.configuration(place.engine.layout(port), api_url=environment.api_url, https=https)
    spec = ProxySpec(configuration.decode(), environment.bind, port, https)
    settings = {"port": port, "bind": environment.bind, "api_url": environment.api_url}
    if https is not None:
        settings |= {"domain": https.domain}
        settings |= {f"https.{name}": value for name, value in asdict(https).items() if name != "domain"}
    return ProxyRecord(spec, settings)


def start_proxy(run: Run) -> None:
    """Start the proxy that was planned.

    Raises:
        PreconditionMissing: The environment's files ask for another one by now.
    """
    record = proxy_record(run.place)
    if run.plan.options.get("proxy") not in {None, record.spec.digest}:
        raise PreconditionMissing(
            "DC-PLAN-STALE",
            f"the plan for {run.place.name} has another proxy than environment.yaml asks for now",
            why="the file was changed since the plan was made",
            do=f"dcops plan {run.place.name}",
        )
    _serve_through(run.place, record)


def undo_proxy(run: Run) -> None:
    """Back to the earlier configuration and ports; a first proxy stays, it serves nothing."""
    if before := parse(run.values.get("proxy", "").encode()):
        _serve_through(run.place, before)


def restore_proxy(place: Place) -> None:
    """The proxy as it was last started, where even that is gone."""
    if not place.engine.proxy().running and (before := parse(place.store.read(PATH)[PATH])):
        _serve_through(place, before)


def proxy_before(place: Place) -> str:
    """What ``undo_proxy`` needs, as it was written down when the proxy was started."""
    return (place.store.read(PATH)[PATH] or b"").decode()


def _serve_through(place: Place, record: ProxyRecord) -> None:
    place.engine.start_proxy(record.spec)
    place.store.write({PATH: record.dump()})
    place.local.decide(replace(place.choice, port=record.spec.port, bind=record.spec.bind))


def write_key(place: Place) -> None:
    """Give the gateway the key as it is now; it reads it at each request.

    Raises:
        PreconditionMissing: The environment's reference leads to no key.
    """
    if place.environment.model == "api":
        place.engine.write_secret(API_KEY, place.key.reveal())


def start_model(run: Run) -> None:
    ensure_model(run.place, run.look(), Revision.from_json(run.values["model"]))


def ensure_model(place: Place, current: Current, revision: Revision) -> None:
    """One scripted model an environment; a new version takes over by its own pointer file."""
    name = f"model-{revision.build[:7]}"
    if name == current.model and current.runs(name):
        return
    stale = current.records.get(name)
    if stale is not None:
        instances.remove(place, stale)
    record = instances.start(place, name, "model", revision, ToggleState(1))
    place.engine.keep(name, always=True)
    instances.await_ready(place, record, timeout=place.environment.ready_timeout)
    place.store.write({MODEL_POINTER: place.engine.address(name).encode() + b"\n"})
    if current.model and current.model != name:
        instances.remove(place, current.records[current.model])


def retire_model(place: Place) -> None:
    """End the scripted model when no instance's gateway leads to it."""
    current = observe(place)
    others = [record for name, record in current.records.items() if name != current.model]
    if current.model and not any(record.scripted for record in others):
        place.store.write({MODEL_POINTER: None})
        instances.remove(place, current.records[current.model])


def start_instances(run: Run) -> None:
    """Candidate and twin start side by side; the twin is awaited by the step that needs it."""
    place, plan = run.place, run.plan
    remove_instances(run)
    candidate = instances.start(place, plan.candidate, "candidate", plan.revision, run.toggles)
    if plan.twin and not plan.has("stop"):  # after an outage began, verification is over
        instances.start(place, plan.twin, "twin", plan.revision, run.toggles)
    instances.await_ready(place, candidate, timeout=place.environment.ready_timeout)
    # Another machine may have come with its token while they were started.
    place.access.spread()


def remove_instances(run: Run) -> None:
    for name in filter(None, (run.plan.candidate, run.plan.twin)):
        instances.remove_by_id(run.place, name)


def undo_instances(run: Run) -> None:
    candidates.put_away(run)
    if run.plan.twin:
        instances.remove_by_id(run.place, run.plan.twin)
