"""Limits that an environment sets: tokens of a day, turns at once, and how long sessions stay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.errors import DcopsError

from .site import Site, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def limited(sites: Sites) -> Iterator[Site]:
    settings = {"verify": {"suites": []}, "limits": {"turns": 1}, "sessions": {"keep": "2s"}}
    with sites("process", **settings) as site:
        site.deploy()
        yield site


def test_the_tokens_of_the_day_are_shown_and_end_when_they_are_spent(limited: Site) -> None:
    assert limited.status()["tokens"]["total"] == 0
    limited.dcops("chat", "dev", "hello")
    tokens = limited.status()["tokens"]
    assert (
        tokens["total"] == tokens["input"] + tokens["output"] + tokens["cache_read"] + tokens["cache_write"]
    )
    assert tokens["output"] > 0
    assert tokens["budget"] == 0
    limited.dcops("toggle", "set", "daily_token_budget", "1", "--env", "dev")
    assert limited.status()["tokens"] == {**tokens, "budget": 1}
    assert f"{tokens['total']:,} of 1 today (UTC)" in limited.dcops("status", "dev").stdout
    refused = limited.json("chat", "dev", "hello", code=6)
    assert "daily_token_budget" in str(refused)
    limited.dcops("toggle", "unset", "daily_token_budget", "--env", "dev")
    limited.dcops("chat", "dev", "hello")


def test_only_so_many_turns_run_at_once(limited: Site) -> None:
    client = limited.client
    first, second = client.create_session(), client.create_session()
    client.start_turn(first, "run: sleep 60")
    with pytest.raises(DcopsError, match="turns"):
        client.start_turn(second, "hello")
    client.stop(first)


def test_a_session_that_nobody_uses_goes_with_its_workspace(limited: Site) -> None:
    client = limited.client
    session = client.create_session()
    workspace = limited.root / ".dcops/dev/workspace" / session
    until(lambda: client.instance()["running_turns"] == 0)
    client.start_turn(session, "run: pwd; touch kept")
    until((workspace / "kept").exists)
    until(lambda: session not in [each["id"] for each in client.sessions()])
    until(lambda: not workspace.exists())
