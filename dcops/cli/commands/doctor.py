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

PRECONDITION = 6
LOOKS = {"ok": ("ok", "good"), "warn": ("warn", "warn"), "fail": ("fail", "bad")}


@command("doctor", examples=("dcops doctor", "dcops doctor production --json"), exits=(6, 7))
@click.argument("environment", metavar="[ENV]", required=False, shell_complete=completion.environments)
def doctor_command(app: App, environment: str | None) -> int:
    """Check everything that dcops needs, each with its fix.

    Warnings do not fail. What only concerns an environment that was never deployed here is a warning,
    unless ENV names it.
    """
    from dcops.operations.doctor import doctor

    findings = doctor(app.world(), environment)
    failed = [finding for finding in findings if finding.status == "fail"]
    document = {"ok": not failed, "findings": [asdict(finding) for finding in findings]}
    app.show("doctor", document, lambda: _lines(app, findings))
    return PRECONDITION if failed else 0


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
