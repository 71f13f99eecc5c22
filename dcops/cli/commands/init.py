"""``dcops init``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dcops.cli.base import command
from dcops.cli.console import style

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App


@command("init", examples=("dcops init my-agent", "dcops init . --toggles feature_toggles.json"), exits=(6,))
@click.argument("directory", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--toggles",
    "toggles_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Take over an existing set of toggles, a JSON object.",
)
def init_command(app: App, directory: Path, toggles_file: Path | None) -> None:
    """Write environments and a small implementation into DIR.

    Nothing is overwritten. The result deploys as it is: dcops deploy dev.
    """
    from dcops.operations.init import init

    files = [str(file) for file in init(directory, toggles_file)]
    app.show(
        "init", {"directory": str(directory.absolute()), "files": files}, lambda: _lines(directory, files)
    )


def _lines(directory: Path, files: list[str]) -> Iterator[str]:
    yield from (f"  {file}" for file in files)
    go = "" if directory.resolve() == Path.cwd() else f"cd {directory} && "
    yield f"{style('Written', 'good')}  {len(files)} files. Next:"
    yield f"  {go}dcops deploy dev"
    yield "  dcops verify dev --suite contract"
