"""Which project a directory belongs to, and the identity that marks what the project owns."""

from __future__ import annotations

import hashlib
import json
import re
import socket
from pathlib import Path
from typing import Any

from dcops.core.document import Document, refuse
from dcops.core.environment import Project
from dcops.errors import PreconditionMissing
from dcops.files import write_file

_FORMAT = 1
_SHARED_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "pattern": "^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$"},
        "id": {"type": "string", "pattern": "^[0-9a-f]{8}$", "x-expected": "8 hex digits in quotes"},
    },
}


def find_project(start: Path, explicit: Path | None = None) -> Project:
    """The nearest directory at or above ``start`` that holds ``environments/``.

    Its name is that of the directory and its id depends on machine and place, so two clones stay apart;
    ``environments/project.yaml`` {name, id} names both for operators who share one engine.

    Args:
        start: Usually the working directory.
        explicit: The project's directory itself (``--project``, ``$DCOPS_PROJECT``).

    Raises:
        PreconditionMissing: There is none (DC-PROJECT-NONE), its state cannot be read (DC-STATE-DAMAGED)
            or was written by a newer dcops (DC-STATE-NEWER).
    """
    root = _root(start, explicit)
    recorded = _recorded(root)
    name = recorded.get("name") or _slug(root.name)
    identity = recorded.get("id") or hashlib.sha256(f"{_machine()}\n{root}".encode()).hexdigest()[:8]
    return Project(root, **({"name": name, "id": identity} | _shared(root)))


def record_project(project: Project) -> None:
    """Keep the project's identity when its directory moves; called before anything else is written."""
    file = project.root / ".dcops" / "project.json"
    document = {"format": _FORMAT, "name": project.name, "id": project.id, "root": str(project.root)}
    content = json.dumps(document).encode() + b"\n"
    if not file.exists() or file.read_bytes() != content:
        file.parent.mkdir(mode=0o700, exist_ok=True)
        write_file(file, content)


def _root(start: Path, explicit: Path | None) -> Path:
    candidates = [explicit.resolve()] if explicit else [start.resolve(), *start.resolve().parents]
    for candidate in candidates:
        if (candidate / "environments").is_dir():
            return candidate
    raise PreconditionMissing(
        "DC-PROJECT-NONE",
        f"{candidates[0]} is not in a project",
        why="there is no directory `environments` in it" + ("" if explicit else " or above it"),
        do="go to your project, name it with --project DIR, or make one: dcops init DIR",
    )


def _recorded(root: Path) -> dict[str, Any]:
    file = root / ".dcops" / "project.json"
    try:
        document = json.loads(file.read_bytes())
        version = int(document["format"])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise PreconditionMissing(
            "DC-STATE-DAMAGED",
            f"{file} cannot be read",
            why=str(error),
            do="restore it; or delete it when nothing of this project runs, it is written anew",
        ) from None
    if version > _FORMAT:
        raise PreconditionMissing(
            "DC-STATE-NEWER",
            f"{file.parent} was written by a newer version of dcops",
            why=f"its format is {version}, this version knows {_FORMAT}",
            do="use the newer version of dcops",
        )
    return {} if _is_copy(root, document) else document


def _is_copy(root: Path, document: dict[str, Any]) -> bool:
    """True in a copied directory whose original still is there: two projects must not share an id."""
    origin = Path(document.get("root", root))
    if origin == root or not (origin / ".dcops" / "project.json").is_file():
        return False
    return not (origin / ".dcops").samefile(root / ".dcops")


def _shared(root: Path) -> dict[str, str]:
    file = root / "environments" / "project.yaml"
    try:
        document = Document.parse(file.read_bytes(), "environments/project.yaml")
    except FileNotFoundError:
        return {}
    if found := document.check(_SHARED_SCHEMA):
        raise refuse("DC-ENVIRONMENT-INVALID", document.rows(found), do=f"correct {file}")
    return dict(document.value)


def _slug(name: str) -> str:
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return slug[:30].strip("-") or "project"


def _machine() -> str:
    for file in (Path("/etc/machine-id"), Path("/var/lib/dbus/machine-id")):
        try:
            if text := file.read_text().strip():
                return text
        except OSError:
            continue
    return socket.gethostname()
