"""``dcops rollback``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from dcops.cli import completion
from dcops.cli.base import command
from dcops.cli.commands.deploy import confirmation, show_plan, show_report
from dcops.cli.options import DEFAULT, lock_wait_option, reason_option, yes_option
from dcops.core.backup import WORDS
from dcops.errors import NotFound, PreconditionMissing, UsageError

if TYPE_CHECKING:
    from dcops.cli.app import App
    from dcops.operations.world import World


@command(
    "rollback",
    examples=(
        "dcops rollback --env dev",
        "dcops rollback backup_20261120_190812",
        "dcops rollback backup_20261120_190812 --env production --yes",
        "dcops rollback latest --with-data",
    ),
    exits=(3, 4, 6, 7, 130),
)
@click.argument("backup", required=False, metavar="[BACKUP]", shell_complete=completion.backups)
@click.option(
    "--env",
    "environment",
    metavar="ENV",
    help="The environment; asked for when several are deployed.",
    shell_complete=completion.environments,
)
@click.option(
    "--with-data",
    is_flag=True,
    help="Sessions and workspace too, from a backup that holds them; what came since is lost.",
)
@click.option("--dry-run", is_flag=True, help="Show the plan and do nothing.")
@reason_option
@yes_option
@lock_wait_option
def rollback_command(
    app: App,
    backup: str | None,
    environment: str | None,
    with_data: bool,
    dry_run: bool,
    reason: str,
    yes: bool,
    lock_wait: float,
) -> None:
    """Return to the previous release, or to a backup.

    Without BACKUP the newest release that served before and was not rolled back from serves again; toggles
    flipped since are kept and listed. With BACKUP everything is as it was then, and what is there now is
    backed up first. BACKUP is an id, its beginning, latest or previous. Sessions and workspace stay, unless
    --with-data is given: then all instances are stopped meanwhile, and requests fail.
    """
    from dcops.operations.rollback import RollbackRequest, plan_rollback, rollback

    name = environment or _environment(app, app.world(), backup)
    request = RollbackRequest(name, backup=backup, reason=reason, lock_wait=lock_wait, with_data=with_data)
    if dry_run:
        show_plan(app, plan_rollback(app.world(), request))
        return
    with app.progress("rollback", name) as progress:
        world = app.world(progress.emit)
        report = rollback(world, request, confirmation(app, world, progress, yes=yes))
    show_report(app, report)


def _environment(app: App, world: World, backup: str | None) -> str:
    """The environment that is meant when none is named."""
    if backup is not None and backup not in WORDS:
        return _of_backup(world, backup)
    if named := os.environ.get("DCOPS_ENV"):
        return named
    deployed = [name for name in world.environments.names() if world.choice(world.environments.load(name))]
    if len(deployed) < 2:
        return deployed[0] if deployed else DEFAULT
    if app.json or not app.console.interactive:
        raise UsageError(
            "DC-ENVIRONMENT-AMBIGUOUS",
            "which environment is to be rolled back?",
            why=f"deployed are {', '.join(deployed)}",
            do=f"dcops rollback --env {deployed[0]}",
            deployed=deployed,
        )
    answer: str = click.prompt("Which environment", type=click.Choice(deployed), err=True)
    return answer


def _of_backup(world: World, backup: str) -> str:
    from dcops.operations.backup import show_backup

    try:
        found = show_backup(world, backup)
    except NotFound as error:
        if backup not in world.environments.names():
            raise
        raise NotFound(
            error.code,
            f"there is no backup {backup}",
            why=f"{backup} is an environment; did you mean dcops rollback --env {backup}?",
            do=f"dcops rollback --env {backup}",
        ) from None
    if found.damaged:
        # What it is of stands in the manifest, which may be what is damaged.
        raise PreconditionMissing(
            "DC-BACKUP-CORRUPT",
            f"the backup {found.id} is damaged",
            why=found.damaged,
            do="use another one: dcops backup list",
            backup=found.id,
        )
    return found.environment
