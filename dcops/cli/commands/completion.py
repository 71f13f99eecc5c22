"""``dcops completion``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dcops.cli.base import command

if TYPE_CHECKING:
    from dcops.cli.app import App

WHERE = {
    "bash": 'eval "$(dcops completion bash)"      # in ~/.bashrc',
    "zsh": 'eval "$(dcops completion zsh)"       # in ~/.zshrc',
    "fish": "dcops completion fish | source       # in ~/.config/fish/config.fish",
}


@command("completion", examples=tuple(WHERE.values()))
@click.argument("shell", type=click.Choice(list(WHERE)))
def completion_command(app: App, shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands, options, environments, backups, toggles and suites.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None  # the choices above are Click's own
    from dcops.cli.main import cli

    source = kind(cli, {}, "dcops", "_DCOPS_COMPLETE").source()
    app.show("completion", {"shell": shell, "script": source}, lambda: [source])
