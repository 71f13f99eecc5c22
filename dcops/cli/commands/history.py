"""``dcops history``."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from dcops.cli.base import command
from dcops.cli.console import style, table
from dcops.cli.options import environment_argument
from dcops.cli.render.progress import length

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.cli.app import App
    from dcops.core.chain import Chain
    from dcops.core.deployment import Deployment, Entry

LOOKS = {"ok": "good", "failed": "bad", "aborted": "warn", "interrupted": "warn"}


@command(
    "history",
    examples=("dcops history production", "dcops history dev --limit 5", "dcops history production --verify"),
    exits=(5, 6, 7),
)
@environment_argument
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many.")
@click.option("--verify", is_flag=True, help="Check that no entry was changed, removed or moved.")
def history_command(app: App, environment: str, limit: int, verify: bool) -> None:
    """Show what was done, by whom, why, with what result.

    The newest comes first.
    Each entry holds the hash of the one before it, which --verify follows.
    """
    from dcops.operations.history import read_history, verify_history

    world = app.world()
    chain = verify_history(world, environment) if verify else None
    entries = read_history(world, environment, limit=limit)
    document = {
        "environment": environment,
        "entries": [entry.to_json() for entry in entries],
        "chain": asdict(chain) if chain else None,
    }
    app.show("history", document, lambda: _verified(chain) if chain else _lines(entries))


def _verified(chain: Chain) -> Iterator[str]:
    early = f" ({chain.entries - chain.chained} before them are of an earlier version)"
    early = early if chain.chained < chain.entries else ""
    yield f"{style('Whole', 'good')}  {chain.chained} entries, each after the one that it names{early}"
    yield f"  the last one's hash is {chain.last}"


def _lines(entries: list[Entry]) -> Iterator[str]:
    if not entries:
        yield "nothing was done yet"
        return
    yield from table(
        ["WHEN (UTC)", "WHAT", "RESULT", "TOOK", "BY", "DETAIL"],
        [
            [
                time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(entry.at)),
                entry.kind,
                style(entry.result, LOOKS[entry.result]),
                length(entry.seconds),
                entry.by,
                _detail(entry),
            ]
            for entry in entries
        ],
    )


def _numbered(deployment: Deployment) -> str:
    back = f", again as #{deployment.restores}" if deployment.restores else ""
    return f"{deployment.revision.short} (#{deployment.number}{back})"


def _detail(entry: Entry) -> str:
    """What was changed, then the reason."""
    parts = []
    if entry.deployment is not None:
        parts.append(_numbered(entry.deployment))
        # A rollback or a restart takes over what the one that it returns to has set.
        flips = entry.deployment.toggles_set if entry.kind == "deploy" else {}
        parts += [f"{name}={_shown(new)}" for name, (_old, new) in flips.items()]
    parts += [f"{name}={_shown(new)}" for name, (_old, new) in entry.data.get("changed", {}).items()]
    parts += [_maintenance(entry.data["maintenance"]["after"])] if entry.data.get("maintenance") else []
    parts += [str(entry.data[key]) for key in ("backup", "error") if entry.data.get(key)]
    parts += [f"'{entry.reason}'"] if entry.reason else []
    return "  ".join(parts)


def _maintenance(seconds: int | None) -> str:
    return "off" if seconds is None else f"on, Retry-After {seconds} s"


def _shown(value: Any) -> str:
    return "(default)" if value is None else json.dumps(value)
