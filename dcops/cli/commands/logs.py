"""``dcops logs``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dcops.cli.base import command
from dcops.cli.options import environment_argument

if TYPE_CHECKING:
    from dcops.cli.app import App
    from dcops.operations.logs import Logs


@command(
    "logs",
    examples=("dcops logs dev", "dcops logs production -f", "dcops logs dev --instance warm --lines 500"),
    exits=(6, 7),
)
@environment_argument
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@click.option("--instance", metavar="ID", help="An instance's id or role; the serving one when absent.")
@click.option("--lines", type=click.IntRange(min=0), default=100, show_default=True, help="From the end.")
def logs_command(app: App, environment: str, follow: bool, instance: str | None, lines: int) -> int:
    """Show the logs of an environment's instances."""
    from dcops.operations.logs import read_logs

    found = read_logs(app.world(), environment, instance=instance, lines=lines, follow=follow)
    if follow:
        return _follow(app, environment, found)
    shown = list(found.lines)
    document = {"environment": environment, "instance": found.instance, "lines": shown}
    app.show("logs", document, lambda: shown)
    return 0


def _follow(app: App, environment: str, found: Logs) -> int:
    """Until the instance ends or somebody presses Ctrl-C, which is how following is meant to end."""
    app.streams = True
    count = 0
    try:
        for line in found.lines:
            count += 1
            if app.json:
                head = {"schema": "dcops.event/1", "type": "event", "op": f"logs-{found.instance}"}
                app.console.document({**head, "seq": count, "instance": found.instance, "line": line})
            else:
                app.console.out(line)
    except KeyboardInterrupt:
        pass
    document = {"environment": environment, "instance": found.instance, "count": count}
    app.show("logs", document, lambda: ())
    return 0
