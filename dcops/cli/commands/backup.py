"""``dcops backup``: create, list and show."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dcops.cli import completion
from dcops.cli.base import Group, command
from dcops.cli.console import ago, size, style, table
from dcops.cli.options import environment_argument, reason_option

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App

PARTIAL = 10


@click.group("backup", cls=Group, short_help="Make, list and show restorable snapshots.")
def backup_command() -> None:
    """Make, list and show restorable snapshots."""


@command(
    "create",
    parent=backup_command,
    examples=(
        "dcops backup create dev --reason 'before the holidays'",
        "dcops backup create production --with-data",
    ),
    exits=(6, 7, 10),
)
@environment_argument
@click.option("--with-data", is_flag=True, help="Sessions and workspace too, as they are at this moment.")
@reason_option
def create_command(app: App, environment: str, with_data: bool, reason: str) -> int:
    """Snapshot implementation, environment, toggles and the release record of what serves."""
    from dcops.operations.backup import create_backup

    made = create_backup(app.world(), environment, reason=reason, with_data=with_data)
    backup = asdict(made)
    app.show("backup.create", {"backup": backup}, lambda: [made.id])
    if not made.left_out:
        return 0
    app.console.talk(f"not in it, as it cannot be read or leads out: {', '.join(made.left_out)}")
    return PARTIAL


@command("list", parent=backup_command, examples=("dcops backup list", "dcops backup list --env dev"))
@click.option(
    "--env",
    "environment",
    metavar="ENV",
    help="Of this environment only.",
    shell_complete=completion.environments,
)
def list_command(app: App, environment: str | None) -> None:
    """List the backups, the newest first."""
    from dcops.operations.backup import list_backups

    backups = [asdict(backup) for backup in reversed(list_backups(app.world(), environment))]
    app.show("backup.list", {"backups": backups}, lambda: _list_lines(backups))


@command("show", parent=backup_command, examples=("dcops backup show backup_20261120_190812",), exits=(6, 7))
@click.argument("backup", shell_complete=completion.backups)
def show_command(app: App, backup: str) -> None:
    """Show what a backup holds; a unique beginning of its id, or latest, is enough."""
    from dcops.operations.backup import show_backup

    shown = asdict(show_backup(app.world(), backup))
    app.show("backup.show", {"backup": shown}, lambda: _show_lines(shown))


def _list_lines(backups: list[dict[str, Any]]) -> Iterator[str]:
    if not backups:
        yield "there is no backup yet: dcops backup create"
        return
    yield from table(
        ["BACKUP", "ENV", "AGE", "RELEASE", "FILES", "DATA", "SIZE", "WHY"],
        [
            [
                backup["id"],
                backup["environment"],
                ago(time.time() - backup["created"]),
                backup["release"][:12],
                str(backup["files"]),
                size(backup["data_bytes"]) if backup["data"] else "",
                size(backup["stored"]),
                f"damaged: {backup['damaged']}" if backup["damaged"] else backup["reason"],
            ]
            for backup in backups
        ],
    )


def _show_lines(backup: dict[str, Any]) -> Iterator[str]:
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(backup["created"]))
    content = f"{backup['files']} files, {size(backup['bytes'])}, {size(backup['stored'])} compressed"
    toggles = ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(backup["toggles"].items()))
    rows = {
        "made": f"{made}, {ago(time.time() - backup['created'])} ago",
        "environment": backup["environment"],
        "why": backup["reason"],
        "release": backup["release"],
        "content": content,
        "data": f"sessions and workspace, {size(backup['data_bytes'])}" if backup["data"] else "",
        "left out": ", ".join(backup["left_out"]),
        "toggles": toggles or "all at their defaults",
        "damaged": backup["damaged"],
        "restore": f"dcops rollback {backup['id']} --env {backup['environment']}",
        "": "with --with-data sessions and workspace go back too" if backup["data"] else "",
    }
    yield style(backup["id"], "strong")
    yield from (f"  {name:<12} {text}" for name, text in rows.items() if text)
