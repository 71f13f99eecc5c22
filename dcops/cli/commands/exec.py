"""``dcops exec``."""

from __future__ import annotations

import sys
from typing import Any

import click

from dcops.cli import completion
from dcops.cli.app import App
from dcops.cli.base import Command, command


class ExecCommand(Command):
    """Options stand before or behind ENV; from the first word of COMMAND on all words are its own."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        settings["context_settings"] = {"allow_interspersed_args": False}
        super().__init__(*args, **settings)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As Click, which would take ENV for the beginning of COMMAND."""
        # It was guessed from all words, and those of COMMAND say nothing of ours.
        ctx.ensure_object(App).json = False
        if args and not args[0].startswith("-"):
            args = ["--env", *args]
        return super().parse_args(ctx, args)


@command(
    "exec",
    examples=(
        "dcops exec dev env",
        "dcops exec production -- python -c 'print(1)'",
        "dcops exec dev --instance warm bash",
    ),
    exits=(6, 7),
    cls=ExecCommand,
)
@click.option("--instance", metavar="ID", help="An instance's id or role; the serving one when absent.")
@click.option("--env", "environment", metavar="ENV", hidden=True)
@click.argument(
    "words",
    metavar="ENV COMMAND...",
    nargs=-1,
    type=click.UNPROCESSED,
    shell_complete=completion.environments,
)
def exec_command(app: App, environment: str | None, instance: str | None, words: tuple[str, ...]) -> int:
    """Run a command inside an instance.

    Its input, output and exit code are the command's own; in a terminal it has the terminal. 127: there is
    no such command. 126: it cannot be run.
    """
    from dcops.operations.exec import execute

    if app.json:
        raise click.UsageError("The output is that of COMMAND: there is no JSON of it.")
    if environment is None and words:
        environment, words = words[0], words[1:]
    if not environment or not words:
        raise click.UsageError("Give an environment and a command.")
    sys.stdout.flush()
    tty = sys.stdin.isatty() and sys.stdout.isatty()
    return execute(app.world(), environment, words, instance=instance, tty=tty)
