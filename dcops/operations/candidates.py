"""Keep a candidate that failed: stopped, without a token, with its log and what it last answered."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from dcops.core.secret import redacted
from dcops.errors import DcopsError
from dcops.operations import instances
from dcops.records import failed
from dcops.records.failed import FailedCandidate

if TYPE_CHECKING:
    from dcops.operations.steps.run import Failure, Run
    from dcops.operations.world import Place

# Of other steps the failure is none of the candidate's.
BLAMED = frozenset({"start", "probe", "verify", "smoke", "bake"})
LOG_LINES = 50


def put_away(run: Run) -> None:
    """Remove the candidate, or keep it stopped when it is to blame; only a deploy removes it then."""
    place, name = run.place, run.plan.candidate
    failure, record, earlier = run.failure, run.find(name), run.current.failed
    made = any(each.id == name for each in place.engine.instances())
    if record is None or failure is None or failure.step not in BLAMED or not made:
        instances.remove_by_id(place, name)
        if earlier is not None and earlier.instance == name:
            forget(place, earlier)  # one that a crash has left half put away
        return
    if earlier is not None:
        forget(place, earlier)
    document = FailedCandidate(
        instance=name,
        release=run.plan.revision.release,
        at=time.time(),
        step=failure.step,
        error=_said(failure),
        probe=_answers(run, failure),
        log=tuple(_log(place, name)),
    )
    # First of all, so that from here on it is this that an abort, a deploy or `down` finds.
    place.store.write({failed.PATH: document.content()})
    place.engine.stop(name, remove=False)
    place.store.write(record.removal())


def forget(place: Place, candidate: FailedCandidate) -> None:
    """Remove a kept candidate."""
    place.engine.stop(candidate.instance)
    place.store.write({failed.PATH: None})


def _said(failure: Failure) -> str:
    error = failure.error
    why = error.why if isinstance(error, DcopsError) else ""
    return redacted(f"{error}{f': {why}' if why else ''}")


def _answers(run: Run, failure: Failure) -> dict[str, str]:
    reasons = failure.error.detail.get("probe") if isinstance(failure.error, DcopsError) else ""
    answers: dict[str, str] = run.values.get("probe", {})
    return {**answers, "readyz": str(reasons)} if reasons else answers


def _log(place: Place, instance: str) -> list[str]:
    with suppress(DcopsError):
        return [redacted(line) for line in place.engine.logs(instance, lines=LOG_LINES)]
    return []
