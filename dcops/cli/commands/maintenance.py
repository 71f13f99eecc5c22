"""``dcops maintenance``: on and off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dcops.cli.approval import approve
from dcops.cli.base import Group, command
from dcops.cli.console import style
from dcops.cli.options import environment_argument, reason_option, yes_option

if TYPE_CHECKING:
    from dcops.cli.app import App

LONGEST = 30 * 86400


@click.group("maintenance", cls=Group, short_help="Answer users that the agent is under maintenance.")
def maintenance_command() -> None:
    """Answer users that the agent is under maintenance.

    The agent goes on running, open streams stay, and probes of its health are answered. It lasts until it
    is turned off, also across deploys, stops and starts.
    """


class _Wait(click.ParamType[int]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from dcops.core.units import seconds

        try:
            wanted = round(seconds(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not 1 <= wanted <= LONGEST:
            self.fail(f"{value!r} is not from 1s to 30d", param, ctx)
        return wanted


@command(
    "on",
    parent=maintenance_command,
    examples=(
        "dcops maintenance on production --reason 'move of the disks'",
        "dcops maintenance on --retry-after 10m",
    ),
    exits=(3, 6, 7, 130),
)
@environment_argument
@click.option(
    "--retry-after",
    type=_Wait(),
    default="2m",
    show_default=True,
    metavar="TIME",
    help="How long users are told to wait.",
)
@reason_option
@yes_option
def on_command(app: App, environment: str, retry_after: int, reason: str, yes: bool) -> None:
    """Answer users with 503 and a time to come back, from the next request on."""
    _set(app, environment, retry_after, reason, yes=yes)


@command(
    "off",
    parent=maintenance_command,
    examples=("dcops maintenance off production --yes",),
    exits=(3, 6, 7, 130),
)
@environment_argument
@reason_option
@yes_option
def off_command(app: App, environment: str, reason: str, yes: bool) -> None:
    """Let users in again, from the next request on."""
    _set(app, environment, None, reason, yes=yes)


def _set(app: App, environment: str, retry_after: int | None, reason: str, *, yes: bool) -> None:
    from dcops.operations.maintenance import set_maintenance

    word = "off" if retry_after is None else "on"
    with app.progress("maintenance", environment, streams=False) as progress:
        world = app.world(progress.emit)
        approve(app, world, environment, f"maintenance {word}", yes=yes)
        report = set_maintenance(world, environment, retry_after, reason=reason)
    app.show(f"maintenance.{word}", report.to_json(), lambda: [_line(report)])


def _line(report: Any) -> str:
    if not report.changed:
        return f"{style('Unchanged', 'good')}  maintenance of {report.environment} is {report.result} already"
    if report.retry_after is None:
        return f"{style('Done', 'good')}  {report.environment} serves its users again"
    told = f"{report.environment} answers 503, to come back in {report.retry_after} s"
    return f"{style('Done', 'good')}  {told}; back with: dcops maintenance off {report.environment}"
