"""What this machine knows of an environment: which engine was decided, its port, its token.

Everything else lives with the engine. ``.dcops/<environment>/choice.json`` and ``token``.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from dcops.errors import PreconditionMissing
from dcops.files import write_file
from dcops.records.intact import intact

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = 1
TOKEN_LENGTH = 16


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine of an environment, decided at its first deploy and kept until ``down`` or ``--engine``.

    Attributes:
        bind: Address of the plain listener; empty where it was not written down.
        leaves: The engine that the environment is leaving, until what it has there is removed.
    """

    engine: str
    port: int
    why: str
    bind: str = ""
    leaves: EngineChoice | None = None


class LocalState:
    """Files of one environment on this machine.

    Args:
        directory: ``.dcops/<environment>``.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._choice = directory / "choice.json"
        self._kept = directory / "kept.json"
        self.token_file = directory / "token"

    def choice(self) -> EngineChoice | None:
        """The decided engine, None before the first deploy.

        Raises:
            PreconditionMissing: A newer dcops wrote the directory.
        """
        return self._read(self._choice)

    def kept(self) -> EngineChoice | None:
        """Where ``down`` has left the environment's data; None when it left none."""
        return self._read(self._kept)

    def _read(self, path: Path) -> EngineChoice | None:
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        with intact(str(path), f"remove it, then dcops deploy {path.parent.name} decides anew"):
            document = json.loads(content)
            newer = document.pop("format") > FORMAT
            left = document.pop("leaves", None)
            choice = (
                None if newer else EngineChoice(**document, leaves=EngineChoice(**left) if left else None)
            )
        if newer:
            raise PreconditionMissing(
                "DC-STATE-NEWER",
                f"{path} was written by a newer dcops",
                why=f"this version reads format {FORMAT}",
                do="upgrade dcops on this machine",
            )
        return choice

    def decide(self, choice: EngineChoice) -> None:
        self._write(self._choice, choice)

    def forget(self, *, kept: EngineChoice | None) -> None:
        """After ``down``: the next deploy decides anew.

        Args:
            kept: The engine that still has the environment's data.
        """
        if kept is not None:
            self._write(self._kept, kept)
        else:
            self._kept.unlink(missing_ok=True)
        rotated = (self.token_file.with_name(f"token.{which}") for which in ("next", "earlier"))
        for path in (self._choice, self.token_file, *rotated):
            path.unlink(missing_ok=True)

    def _write(self, path: Path, choice: EngineChoice) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        write_file(path, json.dumps({"format": FORMAT, **asdict(choice)}).encode(), mode=0o600)

    def token(self) -> str:
        """This machine's bearer token; made at first need, readable by its owner only."""
        if len(self._token()) < TOKEN_LENGTH:
            # An empty or torn one would be let in by whoever guesses it.
            self.token_file.unlink(missing_ok=True)
            self.set_token(new_token())
        return self._token()

    def _token(self) -> str:
        try:
            return self.token_file.read_text("ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return ""

    def set_token(self, token: str) -> None:
        """Keep another token in its place, which the instances must know already."""
        content = token.encode() + b"\n"
        if not self.token_file.exists() or self.token_file.read_bytes() != content:
            self.directory.mkdir(parents=True, exist_ok=True)
            write_file(self.token_file, content, mode=0o600)


def new_token() -> str:
    """A bearer token: 256 bits that nobody can guess."""
    return secrets.token_urlsafe(32)
