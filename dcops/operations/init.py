"""Writes a new project: environments and a small implementation that deploys."""

from __future__ import annotations

import json
from pathlib import Path

from dcops.core.toggle_import import schema_of
from dcops.core.toggle_text import set_value
from dcops.core.toggles import defaults
from dcops.errors import PreconditionMissing, UsageError
from dcops.files import write_file

_TEMPLATES = Path(__file__).parents[1] / "templates" / "project"
_SUFFIX = ".template"  # keeps tools from taking the templates for code of dcops itself


def init(target: Path, toggles_file: Path | None = None) -> list[Path]:
    """Write environments and an implementation into a directory.

    Args:
        target: The project's directory; it is made when absent.
        toggles_file: A JSON object of toggles and values that the implementation takes over.

    Returns:
        The files that were written.

    Raises:
        PreconditionMissing: Some of them are there already, or cannot be written; nothing is overwritten.
        UsageError: The toggles cannot be taken over (DC-TOGGLES-FILE).
    """
    files = _files() if toggles_file is None else _files() | _taken_over(toggles_file)
    if there := [name for name in files if (target / name).exists()]:
        raise PreconditionMissing(
            "DC-INIT-EXISTS",
            f"{target} has {there[0]} already; nothing was changed",
            why=f"{len(there)} of {len(files)} files would be overwritten",
            do="name another directory: dcops init DIR",
            files=there,
        )
    try:
        for name, content in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            write_file(target / name, content)
    except OSError as error:
        raise PreconditionMissing(
            "DC-INIT-FAILED",
            f"{target} cannot be written",
            why=str(error),
            do="name another directory: dcops init DIR",
        ) from None
    return [target / name for name in files]


def _files() -> dict[str, bytes]:
    return {
        str(path.relative_to(_TEMPLATES)).removesuffix(_SUFFIX): path.read_bytes()
        for path in sorted(_TEMPLATES.rglob("*"))
        if path.is_file() and path.suffix != ".pyc"
    }


def _taken_over(toggles_file: Path) -> dict[str, bytes]:
    """The files that hold toggles, with others than the template's."""
    try:
        schema = schema_of(toggles_file.read_bytes(), toggles_file.name)
    except OSError as error:
        raise UsageError(
            "DC-TOGGLES-FILE",
            f"{toggles_file} cannot be read; nothing was changed",
            why=error.strerror or str(error),
            do="name a JSON file of toggles: dcops init DIR --toggles FILE",
        ) from None
    text = "# Values only; types and defaults are in my_agent/toggles.schema.json.\n"
    for name, value in defaults(schema).items():
        text = set_value(text, name, value)
    return {
        "my_agent/toggles.schema.json": json.dumps(schema, indent=2, ensure_ascii=False).encode() + b"\n",
        "environments/dev/toggles.yaml": text.encode(),
        "environments/production/toggles.yaml": text.encode(),
    }
