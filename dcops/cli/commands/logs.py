"""``dcops logs``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from dcops.cli.base import command
from dcops.cli.options import environment_argument

if TYPE_CHECKING:
    from dcops.cli.app import App
    from dcops.operations.logs import Logs

LINES = 100


def _moment(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> float | None:
    """Seconds since the epoch of ``10m`` ago, or of a date with or without a time."""
    if value is None:
        return None
    from datetime import UTC, datetime

    from dcops.core.units import seconds

    try:
        return time.time() - seconds(value)
    except ValueError:
        pass
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        raise click.BadParameter(f"{value!r} is neither a time such as 10m nor 2026-11-21T10:00.") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


@command(
    "logs",
    examples=(
        "dcops logs dev",
        "dcops logs production -f",
        "dcops logs production --since 10m",
        "dcops logs production --candidate",
        "dcops logs dev --instance warm --lines 500",
    ),
    exits=(6, 7),
)
@environment_argument
@click.option(
    "-f", "--follow", is_flag=True, help="Go on with new lines, also of the next one to serve, until Ctrl-C."
)
@click.option("--instance", metavar="ID", help="An instance's id or role; the serving one when absent.")
@click.option(
    "--candidate", is_flag=True, help="The candidate of a running deploy, or the one that failed last."
)
@click.option(
    "--since",
    metavar="TIME",
    callback=_moment,
    help="Lines from then on: 10m ago, or 2026-11-21T10:00 (UTC, unless it names a zone).",
)
@click.option(
    "--lines",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"From the end; {LINES} when absent, all with --since.",
)
def logs_command(
    app: App,
    environment: str,
    follow: bool,
    instance: str | None,
    candidate: bool,
    since: float | None,
    lines: int | None,
) -> int:
    """Show the logs of an environment's instances."""
    from dcops.operations.logs import read_logs

    if candidate and instance:
        raise click.UsageError("Give either --instance or --candidate.")
    if lines is None and since is None:
        lines = LINES

    wanted = "candidate" if candidate else instance
    found = read_logs(app.world(), environment, instance=wanted, lines=lines, since=since, follow=follow)
    if follow:
        return _follow(app, environment, found)
    shown = [line.text for line in found.lines]
    document = {"environment": environment, "instance": found.instance, "lines": shown}
    app.show("logs", document, lambda: shown)
    return 0


def _follow(app: App, environment: str, found: Logs) -> int:
    """Until the instance ends or somebody presses Ctrl-C, which is how following is meant to end."""
    app.streams = True
    count, instance = 0, found.instance
    try:
        for line in found.lines:
            count += 1
            instance = line.instance
            if app.json:
                head = {"schema": "dcops.event/1", "type": "event", "op": f"logs-{found.instance}"}
                app.console.document({**head, "seq": count, "instance": instance, "line": line.text})
            else:
                app.console.out(line.text)
    except KeyboardInterrupt:
        pass
    app.show("logs", {"environment": environment, "instance": instance, "count": count}, lambda: ())
    return 0
