"""``dcops start``, ``stop``, ``restart`` and ``down``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from dcops.cli.approval import approve
from dcops.cli.base import command
from dcops.cli.commands.deploy import confirmation, show_report
from dcops.cli.console import style
from dcops.cli.options import environment_argument, reason_option, yes_option

if TYPE_CHECKING:
    from dcops.cli.app import App
    from dcops.operations.lifecycle import LifecycleReport


@command("start", examples=("dcops start", "dcops start production", "dcops start dev --wait"), exits=(6, 7))
@environment_argument
@click.option("--wait", is_flag=True, help="Stay until somebody stops it; Ctrl-C and SIGTERM stop it.")
def start_command(app: App, environment: str, wait: bool) -> None:
    """Start again what served, after a stop or a reboot.

    The proxy and the instance that its pointer names come back, with the same sessions. With --wait the exit
    code says how it ended: 0 when somebody stopped it, 6 when it died.
    """
    from dcops.operations.lifecycle import start

    if wait:
        _attend(app, environment)
        return
    with app.progress("start", environment, streams=False) as progress:
        report = start(app.world(progress.emit), environment)
    _done(app, "start", report, f"{environment} serves at {report.url}")


@command("stop", examples=("dcops stop dev", "dcops stop production --yes"), exits=(6, 7))
@environment_argument
@yes_option
def stop_command(app: App, environment: str, yes: bool) -> None:
    """Stop an environment's instances and proxy; everything is kept.

    Running turns get the drain timeout to end. dcops start brings everything back.
    """
    from dcops.operations.lifecycle import stop

    with app.progress("stop", environment, streams=False) as progress:
        world = app.world(progress.emit)
        approve(app, world, environment, "stop", yes=yes)
        report = stop(world, environment)
    _done(app, "stop", report, f"{environment} is stopped; back with: dcops start {environment}")


@command("restart", examples=("dcops restart dev --reason 'stuck shell'",), exits=(3, 4, 6, 7, 130))
@environment_argument
@reason_option
@yes_option
def restart_command(app: App, environment: str, reason: str, yes: bool) -> None:
    """Replace the serving instance by a fresh one of the same release.

    The new one starts beside the old one, so no request fails.
    """
    from dcops.operations.lifecycle import restart

    with app.progress("restart", environment, streams=False) as progress:
        world = app.world(progress.emit)
        report = restart(world, environment, confirmation(app, world, progress, yes=yes), reason=reason)
    show_report(app, report)


@command("down", examples=("dcops down dev", "dcops down dev --with-data"), exits=(6, 7))
@environment_argument
@click.option("--with-data", is_flag=True, help="Remove sessions and workspace too.")
@yes_option
def down_command(app: App, environment: str, with_data: bool, yes: bool) -> None:
    """Remove an environment from its engine.

    Proxy, instances, secrets and records go; sessions and workspace stay unless --with-data is given, and
    backups always stay. The next deploy decides the engine anew.
    """
    from dcops.operations.lifecycle import down

    with app.progress("down", environment, streams=False) as progress:
        world = app.world(progress.emit)
        approve(app, world, environment, "down --with-data" if with_data else "down", yes=yes)
        report = down(world, environment, with_data=with_data)
    kept = "its sessions and workspace too" if with_data else "its sessions and workspace are kept"
    _done(app, "down", report, f"{environment} is removed; {kept}")


def _attend(app: App, environment: str) -> None:
    from dcops.operations.service import attend

    began = time.monotonic()
    with app.progress("start", environment, streams=False) as progress:
        world = app.world(progress.emit)
        attend(world, environment, lambda place: app.console.tell(f"{environment} serves at {place.url}"))
    report = {"environment": environment, "result": "stopped", "seconds": time.monotonic() - began}
    app.show("start", report, lambda: [f"{style('Done', 'good')}  {environment} is stopped"])


def _done(app: App, verb: str, report: LifecycleReport, text: str) -> None:
    app.show(verb, report.to_json(), lambda: [f"{style('Done', 'good')}  {text}"])
