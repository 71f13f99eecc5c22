"""Ask the candidate itself, while users still reach the old instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.errors import OperationFailed
from dcops.operations.steps.verify import target_of
from dcops.verification.probe import probe

if TYPE_CHECKING:
    from dcops.core.verification import VerificationReport
    from dcops.operations.steps.run import Run


def do(run: Run) -> None:
    record = run.record(run.plan.candidate)
    report = probe(target_of(run.place, record, run.toggles, role="candidate"))
    if bad := not_passed(run, report):
        raise OperationFailed(
            "DC-PROBE-FAILED",
            f"the candidate of {record.revision.short} did not answer as it should",
            cause="probe",
            why="; ".join(bad),
            do=f"dcops logs {run.place.name} --candidate",
        )


def not_passed(run: Run, report: VerificationReport) -> list[str]:
    """What is wrong; every answer is left for whoever looks at a failed candidate."""
    run.values["probe"] = {check.id: check.message or check.outcome for check in report.checks}
    return [f"{check.id}: {check.message}" for check in report.checks if check.outcome != "passed"]
