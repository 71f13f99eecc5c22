"""``dcops resume`` and ``dcops abort``: what to do with an operation that was interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dcops.cli.base import command
from dcops.cli.commands.deploy import show_report
from dcops.cli.options import environment_argument

if TYPE_CHECKING:
    from dcops.cli.app import App


@command("resume", examples=("dcops resume production",), exits=(3, 4, 6, 7, 130))
@environment_argument
def resume_command(app: App, environment: str) -> None:
    """Finish an operation that was interrupted.

    It goes on at the step where a crash or a lost connection stopped it; dcops status shows which.
    """
    from dcops.operations.resume import resume

    with app.progress("resume", environment) as progress:
        report = resume(app.world(progress.emit), environment)
    show_report(app, report)


@command("abort", examples=("dcops abort production",), exits=(4, 6, 7))
@environment_argument
def abort_command(app: App, environment: str) -> None:
    """Take back an operation that was interrupted.

    What served before it serves again. An operation that had already been recorded is finished instead.
    """
    from dcops.operations.resume import abort

    with app.progress("abort", environment) as progress:
        report = abort(app.world(progress.emit), environment)
    show_report(app, report)
