"""Each session works in a directory of its own, which the model is told without spoiling what may be kept."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .conftest import House, Say


def turn(house: House, say: type[Say], session: str, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    """What one turn of the session asked of the model."""
    house.session = session
    house.model.requests.clear()
    replies = [say.reply(*calls, stop="tool_use")] if calls else []
    assert asyncio.run(house.turn("go", *replies, say.reply(say.text("done")))).state == "done"
    return house.model.requests


def test_it_is_made_with_the_first_call(house: House, say: type[Say]) -> None:
    session = house.journal.create_session()
    place = house.workspaces / session
    turn(house, say, session)
    assert not place.exists()
    turn(house, say, session, say.call("c", "bash", command="pwd; echo x > kept"))
    assert (place / "kept").read_text() == "x\n"
    assert house.results()["c"]["content"][0]["text"] == f"{place}\n"


def test_no_session_views_the_files_of_another(house: House, say: type[Say]) -> None:
    mine, other = house.session, house.journal.create_session()
    turn(house, say, other, say.call("a", "bash", command="echo secret > theirs"))
    path = str(house.workspaces / other / "theirs")
    turn(house, say, mine, say.call("b", "files", command="view", path=path))
    result = house.results()["b"]
    assert result["is_error"]
    assert "outside the workspace" in result["content"][0]["text"]


def test_a_session_without_one_works_in_the_shared_one(house: House, say: type[Say]) -> None:
    with house.journal._store.transaction() as db:
        db.execute("UPDATE sessions SET workspace = NULL")
    (request, _) = turn(house, say, house.session, say.call("c", "bash", command="pwd"))
    assert house.results()["c"]["content"][0]["text"] == f"{house.workspaces}\n"
    assert f"the directory {house.workspaces};" in request["system"][1]["text"]


def test_sessions_share_what_may_be_kept_of_the_system_prompt(house: House, say: type[Say]) -> None:
    one, two = house.session, house.journal.create_session()
    ((first,), (second,)) = [[*turn(house, say, session)] for session in (one, two)]
    assert first["tools"] == second["tools"]
    assert first["system"][0] == second["system"][0]
    assert "cache_control" in first["system"][0]
    assert str(house.workspaces / one) in first["system"][1]["text"]
    assert str(house.workspaces / two) in second["system"][1]["text"]
    house.toggles["use_prompt_caching"] = False
    (plain,) = turn(house, say, one)
    assert plain["system"] == f"{first['system'][0]['text']}\n{first['system'][1]['text']}"
