"""Make another instance serve: one rename of the pointer file, and the roles around it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from dcops.errors import OperationFailed
from dcops.operations import instances
from dcops.operations.current import POINTER
from dcops.operations.steps import outage
from dcops.operations.steps.probe import not_passed
from dcops.operations.steps.verify import target_of
from dcops.verification.probe import probe

if TYPE_CHECKING:
    from dcops.operations.steps.run import Run
    from dcops.records.instances import InstanceRecord

ACKNOWLEDGE_SECONDS = 10.0
# Besides 200: limits and overload pass, and say that the key is known.
_API_ANSWERS = frozenset({200, 429, 500, 529})


def do(run: Run) -> None:
    place, new = run.place, run.record(run.plan.candidate)
    old = run.current.record
    if old is not None and old.id != new.id:
        place.engine.keep(old.id, always=False)
    place.engine.keep(new.id, always=True)
    instances.set_role(place, new, "serving")
    # The new instance must follow before the first request reaches it: a warm one refuses turns.
    if new.revision.roles and not instances.await_acknowledged(
        place, new, role="serving", timeout=ACKNOWLEDGE_SECONDS
    ):
        raise OperationFailed(
            "DC-ROLE-NOT-ACKNOWLEDGED",
            f"instance {new.id} did not become serving within {ACKNOWLEDGE_SECONDS:g} s",
            cause="start",
            do=f"dcops logs {place.name}",
        )
    place.store.write({POINTER: place.engine.address(new.id).encode() + b"\n"})
    run.values["switched"] = time.time()


def undo(run: Run) -> None:
    place, old = run.place, run.current.record
    if old is None:
        place.store.write({POINTER: None})
        return
    place.engine.keep(old.id, always=True)
    instances.set_role(place, old, "serving")
    _awake(run)
    place.store.write({POINTER: place.engine.address(old.id).encode() + b"\n"})
    new = run.find(run.plan.candidate)
    if new is not None and new.id != old.id:
        place.engine.keep(new.id, always=False)
        if not run.plan.has("start"):
            instances.set_role(place, new, "warm", run.place.environment.warm_for)


def _awake(run: Run) -> None:
    """Have what served run: where keeper or daemon have ended, only what the pointer names comes back."""
    if run.plan.has("stop"):
        return  # until its sessions are put back it may not run
    now = run.look()
    if now.proxy.running and not now.runs(run.current.serving):
        outage.start_again(run)


def smoke(run: Run) -> None:
    """Read what now serves, by the way that users take: through the proxy, by no instance's name."""
    record = run.record(run.plan.candidate)
    target = target_of(run.place, record, run.toggles, role="serving")
    shut = run.current.maintenance is not None
    # Maintenance leaves users nothing but the probes, so the rest is asked by the instance's name.
    report = probe(target if shut else replace(target, operator=""))
    bad = not_passed(run, report)
    if shut and not run.place.client().healthy():
        bad.append("GET /healthz does not reach it by the way that users take")
    bad += _gateway_problems(run, record)
    if bad:
        raise OperationFailed(
            "DC-SMOKE-FAILED",
            f"{record.revision.short} did not pass smoke after the switch",
            cause="smoke",
            why="; ".join(bad),
            do=f"dcops logs {run.place.name}",
        )


def _gateway_problems(run: Run, record: InstanceRecord) -> list[str]:
    """Whether the real model lets the instance in; trouble of the API itself is no fault of ours."""
    if not record.revision.real_model:
        return []
    status = run.place.engine.ask_gateway("/v1/models?limit=1", record.gateway_token)
    if status in _API_ANSWERS:
        return []
    said = {0: "does not answer", 401: "refuses the key", 403: "refuses the key"}
    return [f"GET /v1/models through the gateway: the model {said.get(status, f'answers {status}')}"]


def settle(run: Run) -> None:
    """The old instance stays warm for a quick return; those that were warm before drain and go."""
    place, old = run.place, run.current.record
    if not run.replaces or old is None:
        return
    if run.plan.has("stop"):
        outage.remove_stopped(run)
        return
    if not old.revision.roles:
        run.say("settle", f"{old.id} is ended: {old.revision.name} knows no roles, so nothing stays warm")
        instances.remove(place, old)
        return
    instances.set_role(place, old, "warm", place.environment.warm_for)
    for name in run.current.with_role("warm"):
        if name not in {run.plan.candidate, old.id}:
            instances.set_role(place, run.current.records[name], "draining")
