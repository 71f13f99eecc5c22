"""Bring the session journal to the schema that the release needs, with the release's own command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.errors import OperationFailed
from dcops.operations import instances
from dcops.operations.steps import outage

if TYPE_CHECKING:
    from dcops.operations.steps.run import Run


def do(run: Run) -> None:
    """May run twice: a journal that is there already is left alone."""
    place, revision = run.place, run.plan.revision
    if revision.journal is None:
        return
    if run.plan.has("stop"):
        outage.stop(run)  # somebody may have started what it would break, between a crash and now
    place.engine.sweep()  # one that was left by a crash would migrate at the same time
    spec = instances.specification(place, run.plan.candidate, "candidate", revision)
    outcome = place.engine.run(spec, revision.journal.migrate)
    if outcome.code != 0:
        raise OperationFailed(
            "DC-MIGRATION-FAILED",
            f"the session journal could not be migrated for {revision.short}",
            cause="migrate",
            why=f"{' '.join(revision.journal.migrate)} ended with exit code {outcome.code}: "
            + (outcome.lines[-1] if outcome.lines else "it said nothing"),
            do=f"mend the implementation, then dcops deploy {place.name}",
            log=list(outcome.lines),
        )
    run.say("migrate", outcome.lines[-1] if outcome.lines else "done")
