"""Two releases on one session journal: the earlier one and the next, which has migrated it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from dcops.verification.model import call, reply, text

from .site import Site, texts, until
from .traffic import ends, transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Sites

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
ADDS = "ALTER TABLE messages ADD COLUMN mood TEXT; CREATE INDEX by_turn ON messages (turn);"
WORDS = " ".join(["word"] * 50)


@pytest.fixture
def serving(engine: str, sites: Sites) -> Iterator[Site]:
    with sites(engine, verify={"suites": ["smoke"]}) as site:
        site.deploy()
        yield site


def migrate_next(site: Site, *, min_reader: int) -> None:
    """Make the implementation the next release, with one migration more."""
    for file, old, new in (
        (
            "journal/migrations.py",
            "    Migration(2, TOKENS_AND_WORKSPACES, min_reader=1),\n",
            f"    Migration(2, TOKENS_AND_WORKSPACES, 1), Migration(3, {ADDS!r}, {min_reader}),\n",
        ),
        ("implementation.yaml", "{schema: 2, min_reader: 1,", f"{{schema: 3, min_reader: {min_reader},"),
    ):
        before = (site.agent / file).read_text()
        assert before.count(old) == 1
        (site.agent / file).write_text(before.replace(old, new))


def say(site: Site, session: str, question: str, *answers: dict[str, object]) -> str:
    """One turn to its end; what the agent said in it."""
    client = site.client
    site.model().replies(*answers)
    turn = client.start_turn(session, question)
    ended = until(lambda: told(site, session, turn), 60, f"{question} is answered")
    assert ended[-1]["type"] == "RUN_FINISHED"
    return texts(ended)


def told(site: Site, session: str, turn: str) -> list[dict[str, object]]:
    """The events of a turn that has ended, else nothing."""
    events = [event for _, event in transcript(site.client, session)]
    starts = next((n for n, event in enumerate(events) if event.get("runId") == turn), len(events))
    end = next((n for n, event in enumerate(events) if ends(event, turn)), None)
    return [] if end is None else events[starts : end + 1]


def questions(site: Site) -> list[str]:
    """What the users of this conversation have said, as the model was last told."""
    messages = site.model().requests()[-1]["messages"]
    return [
        block["text"]
        for message in messages
        if message["role"] == "user"
        for block in message["content"]
        if block["type"] == "text"
    ]


def schemas(site: Site) -> tuple[int, int]:
    state = site.client.instance()["state"]
    return state["schema"], state["min_reader"]


def test_the_next_release_and_the_one_before_use_one_journal_at_once(serving: Site) -> None:
    client = serving.client
    talk, long = client.create_session(), client.create_session()
    assert say(serving, talk, "One?", reply(text("First."))) == "First."
    old, model = serving.current().serving, serving.model()
    model.replies(reply(text(WORDS), stall_after=10, gate="migrated"))
    running = client.start_turn(long, "Go on.")
    until(lambda: any("word" in str(event) for _, event in transcript(client, long)), 30, "it streams")

    migrate_next(serving, min_reader=1)
    planned = serving.json("plan", "dev")["plan"]
    steps = [step["id"] for step in planned["steps"]]
    assert steps.index("migrate") == steps.index("start") - 1
    assert "journal    2 -> 3 (adds only; the earlier release goes on reading it)" in planned["changes"]
    serving.dcops("deploy", "dev")

    assert schemas(serving) == (3, 1)
    assert serving.current().roles[old] == "warm"
    assert say(serving, talk, "Two?", reply(text("Second."))) == "Second."
    assert questions(serving) == ["One?", "Two?"]
    assert client.session(long)["running"] == running
    model.open("migrated")  # the one before writes its turn to the end
    assert texts(until(lambda: told(serving, long, running), 60, "the old turn ends")) == " ".join(
        ["word"] * 50
    )
    assert say(serving, long, "And?", reply(text("Done."))) == "Done."

    report = serving.rollback()
    assert report.plan is not None
    assert not report.plan.has("start")
    assert serving.current().serving == old
    assert say(serving, talk, "Three?", reply(text("Third."))) == "Third."
    assert questions(serving) == ["One?", "Two?", "Three?"]
    assert schemas(serving) == (3, 1)
    assert serving.model().problems() == []


def test_a_breaking_one_is_asked_for_and_its_way_back_takes_the_sessions_along(serving: Site) -> None:
    session = serving.client.create_session()
    bash = reply(call("call_1", "bash", command="echo before > kept"))
    say(serving, session, "One?", bash, reply(text("First.")))
    first = serving.status()["release"]
    migrate_next(serving, min_reader=3)
    refused = serving.json("deploy", "dev", code=6)
    assert refused["code"] == "DC-MIGRATION-BREAKING"
    assert serving.status()["release"] == first

    serving.dcops("deploy", "dev", "--breaking")
    assert schemas(serving) == (3, 3)
    [left] = [each["id"] for each in serving.status()["instances"] if each["role"] != "model"]
    bash = reply(call("call_2", "bash", command="cat kept; echo after > kept"))
    say(serving, session, "Two?", bash, reply(text("Second.")))
    assert "before" in json.dumps(serving.model().requests()[-1]["messages"][-1])
    assert questions(serving) == ["One?", "Two?"]

    refused = serving.json("rollback", "--env", "dev", code=6)
    assert (refused["code"], serving.current().serving) == ("DC-JOURNAL-NEWER", left)
    words = refused["do"].partition(":")[0].split()[1:]
    assert words == ["rollback", refused["backup"], "--with-data", "--env", "dev"]
    assert serving.json(*words, code=6)["code"] == "DC-CONFIRMATION"
    serving.dcops(*words, "--yes")
    assert serving.status()["release"] == first
    assert schemas(serving) == (2, 1)
    bash = reply(call("call_3", "bash", command="cat kept"))
    say(serving, session, "Three?", bash, reply(text("Third.")))
    assert questions(serving) == ["One?", "Three?"]
    assert "before" in json.dumps(serving.model().requests()[-1]["messages"][-1])
