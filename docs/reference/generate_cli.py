"""Write cli.md from the commands' own help: ``python docs/reference/generate_cli.py``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcops.cli.base import EXITS
from dcops.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).with_name("cli.md")
WIDTH = 90


def document() -> str:
    """The whole reference."""
    codes = "\n".join(f"| {code} | {meaning} |" for code, meaning in EXITS.items())
    sections = "\n".join(
        f"## {path}\n\n```text\n{text.rstrip()}\n```\n" for path, text in _helps(cli, "dcops")
    )
    return f"""# Command line

Written from `dcops COMMAND --help` by `generate_cli.py`; change the commands, not this file.

Data goes to stdout, talk to stderr. `--json` prints one object with a `schema`, or for deploy, rollback,
resume, abort, verify, chat and `logs -f` one object a line, of which the last one has `"type": "result"`.
An error is an object of the schema `dcops.error/1` with `code`, `what`, `why`, `do` and `exit_code`.

| exit | means |
|---|---|
{codes}

{sections}"""


def _helps(command: click.Command, path: str) -> Iterator[tuple[str, str]]:
    # An upper bound above the width, so that the width alone decides where lines break.
    settings = {"terminal_width": WIDTH, "max_content_width": WIDTH, "help_option_names": ["-h", "--help"]}
    context = click.Context(command, info_name=path, **settings)
    yield path, command.get_help(context)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            made = command.get_command(context, name)
            assert made is not None
            yield from _helps(made, f"{path} {name}")


if __name__ == "__main__":
    FILE.write_text(document())
