"""Start proxy, scripted model, candidate and twin; remove the last two again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from dcops import proxy
from dcops.core.deployment import Revision, ToggleState
from dcops.operations import instances
from dcops.operations.current import MODEL_POINTER, Current, observe
from dcops.records.proxy import PATH as PROXY

if TYPE_CHECKING:
    from dcops.operations.steps.run import Run
    from dcops.operations.world import Place

API_KEY = "api-key"


def proxy_configuration(place: Place) -> bytes:
    return proxy.configuration(place.engine.layout(place.choice.port), api_url=place.environment.api_url)


def proxy_digest(place: Place) -> str:
    return hashlib.sha256(proxy_configuration(place)).hexdigest()


def start_proxy(run: Run) -> None:
    place = run.place
    _serve_through(place, proxy_configuration(place).decode(), place.environment.bind, place.choice.port)


def undo_proxy(run: Run) -> None:
    """Back to the earlier configuration and port; a first proxy stays, it serves nothing."""
    if before := run.values.get("proxy"):
        _serve_through(run.place, **json.loads(before))


def restore_proxy(place: Place) -> None:
    """The proxy as it was last started, where even that is gone."""
    if not place.engine.proxy().running and (before := proxy_before(place)):
        _serve_through(place, **json.loads(before))


def proxy_before(place: Place) -> str:
    """What ``undo_proxy`` needs, as it was written down when the proxy was started."""
    return (place.store.read(PROXY)[PROXY] or b"").decode()


def _serve_through(place: Place, configuration: str, bind: str, port: int) -> None:
    place.engine.start_proxy(configuration.encode(), bind=bind, port=port)
    document = {"configuration": configuration, "bind": bind, "port": port}
    place.store.write({PROXY: json.dumps(document, sort_keys=True).encode()})
    place.local.decide(replace(place.choice, port=port))


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
    undo_instances(run)
    candidate = instances.start(place, plan.candidate, "candidate", plan.revision, run.toggles)
    if plan.twin:
        instances.start(place, plan.twin, "twin", plan.revision, run.toggles)
    instances.await_ready(place, candidate, timeout=place.environment.ready_timeout)
    # Another machine may have come with its token while they were started.
    place.access.spread()


def undo_instances(run: Run) -> None:
    for name in filter(None, (run.plan.candidate, run.plan.twin)):
        instances.remove_by_id(run.place, name)
