"""``dcops service``: install and uninstall."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dcops.cli.base import Group, command
from dcops.cli.console import style
from dcops.cli.options import environment_argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App
    from dcops.operations.service import ServiceReport

SAID = {
    "installed": "{environment} comes back after a reboot, by {unit}",
    "unneeded": "nothing to install: Docker's restart policy brings {environment} back",
    "removed": "{environment} no longer comes back by itself; what serves goes on",
    "absent": "there is no unit for {environment}",
}


@click.group("service", cls=Group, short_help="Bring an environment back after a reboot.")
def service_command() -> None:
    """Bring an environment back after a reboot."""


@command(
    "install",
    parent=service_command,
    examples=("dcops service install", "dcops service install production"),
    exits=(6, 7),
)
@environment_argument
def install_command(app: App, environment: str) -> None:
    """Write a systemd user unit that starts an environment of the process engine again.

    It does so after a reboot, and within seconds when its keeper, supervisord, was killed. On Docker nothing
    is needed.
    """
    from dcops.operations.service import install

    _show(app, "service.install", install(app.world(), environment))


@command("uninstall", parent=service_command, examples=("dcops service uninstall dev",), exits=(6, 7))
@environment_argument
def uninstall_command(app: App, environment: str) -> None:
    """Remove that unit; what serves goes on."""
    from dcops.operations.service import uninstall

    _show(app, "service.uninstall", uninstall(app.world(), environment))


def _show(app: App, name: str, report: ServiceReport) -> None:
    app.show(name, report.to_json(), lambda: _lines(report))


def _lines(report: ServiceReport) -> Iterator[str]:
    yield f"{style('Done', 'good')}  {SAID[report.result].format(**report.to_json())}"
    for command_line in report.todo:
        yield f"  {style('do', 'dim')} {command_line}"
