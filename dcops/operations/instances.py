"""Start, await and remove one instance, and change what its control directory says."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

from dcops.core import toggles as core_toggles
from dcops.core.protocols import InstanceSpec, Limits, Role
from dcops.errors import DcopsError, OperationFailed
from dcops.records import access
from dcops.records.instances import InstanceRecord, parse, path
from dcops.records.lock import actor
from dcops.records.toggles import control_document

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from dcops.core.deployment import Revision, ToggleState
    from dcops.operations.world import Place

POLL_SECONDS = 0.025
LOG_LINES = 30


def start(
    place: Place,
    instance: str,
    role: Role,
    revision: Revision,
    toggles: ToggleState,
    *,
    live: bool = False,
) -> InstanceRecord:
    """Hand a new instance to the engine, with tokens of its own; ``await_ready`` waits for it.

    Args:
        live: Give a twin the environment's own model, not the scripted one.
    """
    scripted = role == "model" or (role == "twin" and not live) or not revision.real_model
    record = InstanceRecord(
        id=instance,
        revision=revision,
        gateway=f"gateway/{'scripted' if scripted else 'api'}/{secrets.token_hex(32)}",
        operator=f"operator/{instance}/{secrets.token_hex(32)}",
    )
    place.store.write(record.files())
    control = {
        "toggles.json": toggle_document(revision, toggles),
        "access.json": access.document(place.access.add(place.local.token(), actor()), revision),
        "role.json": role_document(role),
    }
    spec = specification(place, instance, role, revision, control=control, token=record.gateway_token)
    place.engine.start(spec)
    return record


def specification(
    place: Place,
    instance: str,
    role: Role,
    revision: Revision,
    *,
    control: Mapping[str, bytes] | None = None,
    token: str = "",
) -> InstanceSpec:
    """What the engine is told of an instance.

    Args:
        control: Files of its control directory; a one-off run needs none.
        token: Its gateway token.
    """
    configuration = revision.configuration
    limits = Limits(**configuration["limits"])
    keep = configuration.get("sessions", {}).get("keep")  # older records know nothing of it
    return InstanceSpec(
        id=instance,
        role=role,
        build=revision.build,
        release=revision.release,
        command=revision.command,
        variables={
            **configuration["variables"],
            "DCOPS_RELEASE": revision.release,
            "DCOPS_INSTANCE": instance,
            "DCOPS_ENVIRONMENT": place.name,
            "DCOPS_STOP_SECONDS": str(configuration["drain_timeout"]),
            "DCOPS_MAX_RUNNING_TURNS": str(limits.turns),
            "DCOPS_DISK_FREE": str(limits.disk_free),
            **({} if keep is None else {"DCOPS_SESSIONS_KEEP": str(keep)}),
            "ANTHROPIC_API_KEY": token,
        },
        control=control or {},
        shared_state=role not in {"twin", "model"},
        egress=tuple(configuration.get("egress", ())),
        limits=limits,
        stop_seconds=float(configuration["drain_timeout"]) + 5,
    )


def remove(place: Place, record: InstanceRecord) -> None:
    """End an instance and forget everything that names it."""
    place.engine.stop(record.id)
    place.store.write(record.removal())


def remove_by_id(place: Place, instance: str) -> None:
    """Remove an instance that may never have been started, or be gone already."""
    content = place.store.read(path(instance))[path(instance)]
    if content is not None:
        remove(place, parse(content, instance))


def toggle_document(revision: Revision, toggles: ToggleState) -> bytes:
    """The values as this instance's own schema knows them, all of them, with its defaults."""
    values = core_toggles.effective(core_toggles.project(toggles.values, revision.schema), revision.schema)
    return control_document(toggles.generation, values)


def role_document(role: Role, for_seconds: float | None = None) -> bytes:
    return json.dumps({"role": role, "for_seconds": for_seconds}).encode()


def set_role(place: Place, record: InstanceRecord, role: Role, for_seconds: float | None = None) -> None:
    place.store.write({f"instances/{record.id}/role.json": role_document(role, for_seconds)})


def await_ready(place: Place, record: InstanceRecord, *, timeout: float) -> None:
    """Wait until the instance takes work.

    Raises:
        OperationFailed: Cause ``start``: it ended, keeps crashing, or is not ready in time; with its
            last log lines and the probe's answer.
    """
    client = place.client(record, timeout=5.0)
    deadline = time.monotonic() + timeout
    next_look = time.monotonic() + 0.3
    reasons: list[str] = []
    while time.monotonic() < deadline:
        ready, reasons = client.ready()
        if ready:
            return
        if time.monotonic() >= next_look:
            _fail_if_ended(place, record, reasons)
            next_look = time.monotonic() + 0.3
        time.sleep(POLL_SECONDS)
    raise _not_started(place, record, f"it was not ready within {timeout:g} s", reasons)


def _fail_if_ended(place: Place, record: InstanceRecord, reasons: list[str]) -> None:
    state = next((each for each in place.engine.instances() if each.id == record.id), None)
    if state is None or state.status in {"exited", "failed"} or state.restarts > 0:
        code = "" if state is None or state.exit_code is None else f" with exit code {state.exit_code}"
        raise _not_started(place, record, f"it ended{code} before it was ready", reasons)


def _not_started(place: Place, record: InstanceRecord, why: str, reasons: list[str]) -> OperationFailed:
    lines = list(place.engine.logs(record.id, lines=LOG_LINES))
    return OperationFailed(
        "DC-START-FAILED",
        f"the new instance {record.id} did not start",
        cause="start",
        why=why,
        do=f"mend the implementation, then dcops deploy {place.name}",
        log=lines,
        probe="; ".join(reasons),
    )


def acknowledged(
    place: Place, record: InstanceRecord, *, role: Role | None = None, generation: int | None = None
) -> bool:
    """Whether the instance says that it follows the role, or the toggle generation (or a newer one)."""
    try:
        document = place.client(record, timeout=2.0).instance()
    except DcopsError:
        return False
    if role is not None and document.get("role_acknowledged") != role:
        return False
    return generation is None or followed(document) >= generation


def followed(document: Mapping[str, Any]) -> int:
    """The toggle generation that ``GET /v1/instance`` names; 0 while it starts and has read none."""
    return int((document.get("toggles") or {}).get("generation") or 0)


def await_acknowledged(place: Place, record: InstanceRecord, *, timeout: float, **expected: Any) -> bool:
    """Poll ``acknowledged`` until it holds; False when it does not within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not acknowledged(place, record, **expected):
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def running_turns(place: Place, records: Iterable[InstanceRecord]) -> Mapping[str, int]:
    """Number of running turns by instance; an instance that does not answer has none to wait for."""
    turns = {}
    for record in records:
        try:
            turns[record.id] = int(place.client(record, timeout=2.0).instance()["running_turns"])
        except DcopsError:
            turns[record.id] = 0
    return turns


def open_streams(place: Place, records: Iterable[InstanceRecord]) -> int | None:
    """Number of event streams that are open at these instances; None where one does not say."""
    counts = []
    for record in records:
        try:
            counts.append(place.client(record, timeout=2.0).open_streams())
        except DcopsError:
            counts.append(0)  # what does not answer streams nothing
    return None if None in counts else sum(filter(None, counts))
