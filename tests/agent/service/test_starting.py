"""A turn stands in the journal before it runs; what if it cannot be started then."""

from __future__ import annotations

import asyncio
import sqlite3
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from dcops.agent.journal.journal import Journal
from dcops.agent.loop import TurnRunner
from dcops.agent.service.turns import Turns
from dcops.agent.tools.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path


def test_a_turn_that_cannot_be_started_is_closed_by_the_next_recovery(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path, "one")
    session = journal.create_session()
    transport: Any = None
    runner = TurnRunner(journal, transport, Registry([]), tmp_path)
    others: Any = SimpleNamespace()

    def unreadable(_own: Any) -> Any:
        raise sqlite3.OperationalError("disk I/O error")

    toggles: Any = SimpleNamespace(values={"daily_token_budget": 0}, over=unreadable)

    async def test() -> None:
        with pytest.raises(sqlite3.OperationalError):
            await Turns(journal, runner, others, others, 4).start(session, "go", None, toggles)
        assert [turn.state for turn in journal.running_turns()] == ["running"]
        await runner.recover()
        assert list(journal.running_turns()) == []

    asyncio.run(test())
    journal.close()
