"""``dcops verify``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcops.cli import completion
from dcops.cli.base import command
from dcops.cli.console import style
from dcops.cli.options import environment_argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App
    from dcops.core.verification import CheckResult, SuiteReport, VerificationReport

CHECK_FAILED = 5
LOOKS = {"pass": "good", "fail": "bad", "inconclusive": "warn"}


@command(
    "verify",
    examples=(
        "dcops verify dev",
        "dcops verify production --suite smoke --suite contract",
        "dcops verify dev --suite streaming --only 'stop*' --junit report.xml",
    ),
    exits=(5, 6, 7, 130),
)
@environment_argument
@click.option(
    "--suite",
    "suites",
    multiple=True,
    metavar="SUITE",
    help="smoke, toggles, streaming, contract, isolation or checks; repeatable. "
    "The environment's own when absent.",
    shell_complete=completion.suites,
)
@click.option("--only", multiple=True, metavar="NAME", help="Only the checks of this name; repeatable.")
@click.option(
    "--junit", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write JUnit XML."
)
@click.option("--live", is_flag=True, help="Let checks spend tokens of the real model.")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=1),
    default=600.0,
    show_default=True,
    metavar="SECONDS",
    help="Then the run is inconclusive.",
)
def verify_command(
    app: App,
    environment: str,
    suites: tuple[str, ...],
    only: tuple[str, ...],
    junit: Path | None,
    live: bool,
    time_limit: float,
) -> int:
    """Run the suites against an isolated twin of what serves.

    The twin has the same build and toggles, throw-away state and a scripted model: what serves is not
    touched, and no key is needed.
    """
    from dcops.core.events import OperationEvent
    from dcops.operations.verify import VerifyRequest, verify

    request = VerifyRequest(
        environment, suites, only, junit.absolute() if junit else None, live=live, time_limit=time_limit
    )
    with app.progress("verify", environment) as progress:
        progress.emit(OperationEvent("verify", "started", "a twin of what serves"))
        report = verify(app.world(progress.emit), request)
    app.show("verify", report.to_json(), lambda: _lines(report))
    return 0 if report.verdict == "pass" else CHECK_FAILED


def _lines(report: VerificationReport) -> Iterator[str]:
    yield f"{style('verify', 'strong')}  {style(report.environment, 'name')}  {report.release[:12]}"
    for suite in report.suites:
        yield _suite_line(suite)
    bad = [check for check in report.checks if check.outcome in {"failed", "error"}]
    for check in bad:
        yield from _check_lines(report, check)
    if report.incomplete:
        yield f"{style('INCOMPLETE', 'warn')}  {report.incomplete}"
    counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items() if count)
    verdict = style(report.verdict.upper(), LOOKS[report.verdict])
    yield f"{verdict}  {counts or 'no check ran'} in {report.seconds:.1f}s"


def _suite_line(suite: SuiteReport) -> str:
    counts = suite.counts
    words = [f"{counts['passed']:>3} passed"]
    words += [style(f"{counts['failed']} FAILED", "bad")] if counts["failed"] else []
    words += [style(f"{counts['error']} could not run", "warn")] if counts["error"] else []
    words += [style(f"{counts['skipped']} skipped", "dim")] if counts["skipped"] else []
    return f"  {suite.suite:<12} {suite.seconds:>5.1f}s  {'   '.join(words)}"


def _check_lines(report: VerificationReport, check: CheckResult) -> Iterator[str]:
    yield f"{style(check.outcome.upper(), 'bad')}  {check.id}"
    yield from (f"    {line}" for line in check.message.splitlines())
    yield f"    {style('rerun', 'dim')}  {report.rerun(check)}"
