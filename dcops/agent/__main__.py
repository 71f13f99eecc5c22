"""Runs the agent, under dcops or alone with `--toggles FILE`, or migrates its journal."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import secrets
import sqlite3
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import structlog

from .journal.migrations import migrate
from .journal.records import JournalError, JournalTooNew, JournalUnfit
from .service.server import Server
from .settings import Address, Settings, SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = structlog.get_logger()

EXIT_TOO_NEW = 3  # of --migrate
EXIT_JOURNAL = 65
EXIT_CANNOT_START = 78


def main(arguments: Sequence[str] | None = None) -> int:
    """Run an instance until it ends, or migrate; returns the process's exit code."""
    options = _parser().parse_args(arguments)
    try:
        if options.migrate:
            return _migrate(options)
        if options.toggles is None:
            return _serve(Settings.from_environment(os.environ), lambda _url: None)
        return _serve_alone(options)
    except JournalUnfit as error:
        log.critical("journal.refused", reason=str(error))
        return EXIT_JOURNAL
    except (SettingsError, JournalError, OSError, sqlite3.Error) as error:
        sys.stderr.write(f"The agent cannot start: {error}\n")
        return EXIT_CANNOT_START


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agent",
        description="A streaming Claude agent. Under dcops it takes no options, only environment variables.",
    )
    parser.add_argument("--migrate", action="store_true", help="bring the journal to this release's schema")
    parser.add_argument("--toggles", type=Path, metavar="FILE", help="run alone, with these toggles")
    parser.add_argument("--listen", default="tcp:127.0.0.1:8000", help="unix:/path or tcp:host:port")
    parser.add_argument("--state", type=Path, metavar="DIR", help="where conversations are kept")
    parser.add_argument("--workspace", type=Path, default=Path(), metavar="DIR", help="where tools work")
    return parser


def _migrate(options: argparse.Namespace) -> int:
    """Says as JSON what was done; other instances may run meanwhile, so there is nothing to wait for."""
    told = os.environ.get("DCOPS_STATE_DIR")
    directory = Path(told) if told and not options.state else _own_state(options)
    try:
        before, now = migrate(directory)
    except (JournalUnfit, sqlite3.Error) as error:
        sys.stderr.write(f"The journal cannot be migrated: {error}\n")
        return EXIT_TOO_NEW if isinstance(error, JournalTooNew) else 1
    done = {"from": before, "to": now.schema, "min_reader": now.min_reader}
    sys.stdout.write(json.dumps(done) + "\n")
    return 0


def _own_state(options: argparse.Namespace) -> Path:
    """Where conversations are kept without dcops."""
    state_home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return Path(options.state or state_home / "dcops-agent").absolute()


def _serve(settings: Settings, announce: Callable[[str], None]) -> int:
    async def serve() -> int:
        return await Server(settings, announce).run()

    return asyncio.run(serve())


def _serve_alone(options: argparse.Namespace) -> int:
    key = os.environ.get("ANTHROPIC_API_KEY")
    if not key:
        raise SettingsError("ANTHROPIC_API_KEY must be set: the agent talks to the model with it")
    token = secrets.token_urlsafe(32)
    with TemporaryDirectory(prefix="dcops-agent-") as control:
        _write_control(Path(control), token)
        settings = Settings(
            listen=Address.parse(options.listen),
            control_dir=Path(control),
            toggles_file=options.toggles.absolute(),
            state_dir=_own_state(options),
            workspace=options.workspace.absolute(),
            one_workspace=True,
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
