"""``dcops doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from dcops.cli import completion
from dcops.cli.base import command
from dcops.cli.console import style, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App
    from dcops.core.protocols import Finding
    from dcops.operations.drift import Drift
    from dcops.operations.repair import Agree, RepairReport

PRECONDITION, LEFT = 6, 5
LOOKS = {"ok": ("ok", "good"), "warn": ("warn", "warn"), "fail": ("fail", "bad")}


@command(
    "doctor",
    examples=("dcops doctor", "dcops doctor production --json", "dcops doctor dev --repair"),
    exits=(5, 6, 7),
)
@click.argument("environment", metavar="[ENV]", required=False, shell_complete=completion.environments)
@click.option("--repair", is_flag=True, help="Mend what has drifted; asks before it stops anything.")
@click.option("--yes", is_flag=True, help="With --repair: do not ask.")
def doctor_command(app: App, environment: str | None, repair: bool, yes: bool) -> int:
    """Check everything that dcops needs, each with its fix.

    Warnings do not fail. What only concerns an environment that was never deployed here is a warning,
    unless ENV names it. --repair mends what follows from what else is there, such as a pointer, a control
    file or a proxy that ended; it never stops what serves, and exits with 5 when something is left.
    """
    if repair:
        return _repair(app, environment, yes=yes)
    from dcops.operations.doctor import doctor

    findings = doctor(app.world(), environment)
    failed = [finding for finding in findings if finding.status == "fail"]
    document = {"ok": not failed, "findings": [asdict(finding) for finding in findings]}
    app.show("doctor", document, lambda: _lines(app, findings))
    return PRECONDITION if failed else 0


def _repair(app: App, environment: str | None, *, yes: bool) -> int:
    from dcops.operations.repair import deployed, repair

    reports = []
    for name in [environment] if environment else deployed(app.world()):
        with app.progress("repair", name, streams=False) as progress:
            reports.append(repair(app.world(progress.emit), name, _asking(app, yes=yes)))
    left = [drift for report in reports for drift in report.left]
    document = {"ok": not left, "repairs": [report.to_json() for report in reports]}
    app.show("doctor", document, lambda: _repair_lines(reports))
    return LEFT if left else 0


def _asking(app: App, *, yes: bool) -> Agree:
    def agree(drift: Drift) -> bool:
        return yes or app.ask(f"{drift.what}. Stop and remove it?")

    return agree


def _repair_lines(reports: list[RepairReport]) -> Iterator[str]:
    for report in reports:
        name = style(report.environment, "name")
        for drift in report.mended:
            yield f"{style('mended', 'good')}  {name}: {drift.what}"
        for drift in report.left:
            yield f"{style('left', 'warn')}    {name}: {drift.what}"
            do = f"{drift.do} --yes" if drift.remedy == "stops" else drift.do
            yield f"        {style('do', 'dim')} {do}"
        if not (report.mended or report.left):
            yield f"{style('nothing', 'good')} {name}: has not drifted"
    if not reports:
        yield "nothing is deployed"


def _lines(app: App, findings: list[Finding]) -> Iterator[str]:
    size = max((len(finding.check) for finding in findings), default=0)
    for finding in findings:
        glyph, look = LOOKS[finding.status]
        sign = style(f"{app.console.glyphs[glyph]} {finding.status:<4}", look)
        yield from wrapped(f"{sign}  {finding.check:<{size}}  ", finding.detail)
        if finding.fix and finding.status != "ok":
            yield from wrapped(f"        {'':<{size}}  {style('fix', 'strong')} ", finding.fix)
    counts = {status: sum(each.status == status for each in findings) for status in LOOKS}
    verdict = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    yield verdict or "there is no environment yet: dcops init"
