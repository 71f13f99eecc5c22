"""Runs the agent: under dcops by environment variables, or alone with `--toggles FILE`."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import secrets
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from .journal.records import JournalError
from .service.server import Server
from .settings import Address, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EXIT_CANNOT_START = 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an instance until it ends; returns the process's exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.toggles is None:
            return _serve(Settings.from_environment(os.environ), lambda _url: None)
        return _serve_alone(options)
    except (SettingsError, JournalError, OSError) as error:
        sys.stderr.write(f"The agent cannot start: {error}\n")
        return EXIT_CANNOT_START


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agent",
        description="A streaming Claude agent. Under dcops it takes no options, only environment variables.",
    )
    parser.add_argument("--toggles", type=Path, metavar="FILE", help="run alone, with these toggles")
    parser.add_argument("--listen", default="tcp:127.0.0.1:8000", help="unix:/path or tcp:host:port")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where conversations are kept")
    parser.add_argument("--workspace", type=Path, default=Path(), metavar="DIR", help="where tools work")
    return parser


def _serve(settings: Settings, announce: Callable[[str], None]) -> int:
    async def serve() -> int:
        return await Server(settings, announce).run()

    return asyncio.run(serve())


def _serve_alone(options: argparse.Namespace) -> int:
    key = os.environ.get("ANTHROPIC_API_KEY")
    if not key:
        raise SettingsError("ANTHROPIC_API_KEY must be set: the agent talks to the model with it")
    state_home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    token = secrets.token_urlsafe(32)
    with TemporaryDirectory(prefix="dcops-agent-") as control:
        _write_control(Path(control), token)
        settings = Settings(
            listen=Address.parse(options.listen),
            control_dir=Path(control),
            toggles_file=options.toggles.absolute(),
            state_dir=(options.state or state_home / "dcops-agent").absolute(),
            workspace=options.workspace.absolute(),
            api_key=key,
            base_url=os.environ.get("ANTHROPIC_BASE_URL") or None,
        )
        return _serve(settings, lambda url: _announce(url, token))


def _write_control(directory: Path, token: str) -> None:
    digest = hashlib.sha256(token.encode()).hexdigest()
    access = {"tokens": [{"sha256": digest, "until": None}], "hosts": []}
    (directory / "access.json").write_text(json.dumps(access))
    (directory / "role.json").write_text(json.dumps({"role": "serving", "for_seconds": None}))


def _announce(url: str, token: str) -> None:
    sys.stdout.write(f"Listening on {url}\nToken: {token}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
