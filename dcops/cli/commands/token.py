"""``dcops token``: rotate."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from dcops.cli.approval import approve
from dcops.cli.base import Group, command
from dcops.cli.console import ago, style
from dcops.cli.options import environment_argument, reason_option, yes_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App
    from dcops.operations.token import RotateReport

LONGEST = 30 * 86400


@click.group("token", cls=Group, short_help="Change the bearer token that lets users in.")
def token_command() -> None:
    """Change the bearer token that lets users in."""


class _Grace(click.ParamType[float]):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from dcops.core.units import seconds

        try:
            wanted = seconds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if not 0 <= wanted <= LONGEST:
            self.fail(f"{value!r} is not from 0 to 30d", param, ctx)
        return wanted


@command(
    "rotate",
    parent=token_command,
    examples=(
        "dcops token rotate production",
        "dcops token rotate dev --grace 0",
        "dcops token rotate production --all --grace 1h --reason 'a laptop was lost'",
    ),
    exits=(3, 4, 6, 7, 130),
)
@environment_argument
@click.option(
    "--grace",
    type=_Grace(),
    default="10m",
    show_default=True,
    metavar="TIME",
    help="How long the old one is still let in.",
)
@click.option("--all", "every", is_flag=True, help="End the tokens of every other machine too.")
@reason_option
@yes_option
def rotate_command(app: App, environment: str, grace: float, every: bool, reason: str, yes: bool) -> None:
    """Replace this machine's bearer token by a new one; nothing restarts.

    At any moment one of the two is let in. The token itself is never shown: it is in the file that is named.
    With --all each other machine makes itself a new token at its next command.
    """
    from dcops.operations.token import rotate

    with app.progress("token", environment, streams=False) as progress:
        world = app.world(progress.emit)
        approve(app, world, environment, "token rotate", yes=yes)
        report = rotate(world, environment, grace=grace, every=every, reason=reason)
    app.show("token.rotate", report.to_json(), lambda: _lines(report))


def _lines(report: RotateReport) -> Iterator[str]:
    yield f"{style('Done', 'good')}  the new token of {report.environment} is in {report.token_file}"
    ended = "every other token" if report.all else "the old one"
    left = report.until - time.time()
    yield f"  {ended} is let in for {ago(left)} more" if left > 0 else f"  {ended} is no longer let in"
