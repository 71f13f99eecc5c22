"""Run suites against a twin of what serves."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dcops.core.events import OperationEvent
from dcops.errors import NotFound
from dcops.operations import instances
from dcops.operations.current import Current, observe, refuse_down, refuse_unfinished
from dcops.operations.interrupts import interruptible
from dcops.operations.planning import needs_model
from dcops.operations.steps.build import build, model_revision, model_source
from dcops.operations.steps.start import ensure_model, retire_model
from dcops.operations.steps.verify import EngineTwin, own_checks, target_of
from dcops.operations.sweep import sweep
from dcops.operations.tidy import temporary
from dcops.verification.runner import check_suites, run_suites

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from dcops.core.verification import CheckResult, VerificationReport
    from dcops.operations.world import Place, World


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What ``dcops verify`` was asked; empty ``suites`` means those of the environment."""

    environment: str
    suites: Sequence[str] = ()
    only: Sequence[str] = ()
    junit: Path | None = None
    live: bool = False
    time_limit: float = 600.0


def verify(world: World, request: VerifyRequest) -> VerificationReport:
    """Start a twin of what serves, run the suites against it, remove it; what serves is not touched.

    Raises:
        UsageError: There is no such suite.
        NotFound: Nothing serves.
        PreconditionMissing: The environment is down, or an operation is unfinished.
        OperationFailed: The twin does not start.
    """
    check_suites(request.suites)
    place = world.open(request.environment)
    with interruptible(), place.lock.acquire("verify", wait=10.0):
        current = observe(place)
        refuse_unfinished(current, place.name)
        if current.record is None:
            raise NotFound(
                "DC-NOTHING-SERVES", f"nothing serves in {place.name}", do=f"dcops deploy {place.name}"
            )
        refuse_down(current, place.name)
        sweep(place, current)
        try:
            if request.live:
                # One short turn of the environment's own model, on a twin that leads there.
                return _with_twin(place, current, request, ("live",), live=True)
            if needs_model(place, current):
                build(place, model_source())
                ensure_model(place, current, model_revision(place))
            suites = tuple(request.suites) or place.environment.suites
            return _with_twin(place, current, request, suites, live=False)
        finally:
            if current.record.revision.real_model:
                retire_model(place)


def _with_twin(
    place: Place, current: Current, request: VerifyRequest, suites: Sequence[str], *, live: bool
) -> VerificationReport:
    assert current.record is not None
    name = f"twin-{secrets.token_hex(3)}"
    try:
        record = instances.start(place, name, "twin", current.record.revision, current.toggles, live=live)
        instances.await_ready(place, record, timeout=place.environment.ready_timeout)
        return run_suites(
            target_of(place, record, current.toggles, live=live),
            suites,
            only=request.only,
            extra_paths=[] if live else own_checks(place),
            time_limit=request.time_limit,
            junit=request.junit,
            handlers=EngineTwin(place, record),
            temporary=temporary(place.world.project.root),
            on_result=_announce(place),
        )
    finally:
        instances.remove_by_id(place, name)


def _announce(place: Place) -> Callable[[CheckResult], None]:
    def said(result: CheckResult) -> None:
        place.world.emit(
            OperationEvent("verify", "note", f"{result.outcome} {result.id}", data=result.to_json())
        )

    return said
