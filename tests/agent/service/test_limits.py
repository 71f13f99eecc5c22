"""Limits over a real socket: the tokens of a day, and input that is too much or has no place to go."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # a real instance imports the SDK first


def refused(agent: Any, session: str, **headers: str) -> Any:
    return agent.http.post(f"/v1/sessions/{session}/turns", json={"input": "hello"}, headers=headers)


def test_the_tokens_of_the_day_are_told_and_refuse_new_turns(agent: Any) -> None:
    session = agent.session()
    agent.set_toggles(2, daily_token_budget=1)
    agent.until(lambda: agent.report()["tokens"]["budget"] == 1)
    first = agent.turn(session, "hello", **{"Idempotency-Key": "first"})
    ended = agent.until_end(session)
    assert ended[-1][1]["result"]["stop_reason"] == "end_turn"  # the budget is looked at before a request
    (usage,) = [event["value"] for _, event in ended if event.get("name") == "usage"]

    tokens = agent.report()["tokens"]
    assert (tokens["input"], tokens["output"]) == (usage["input_tokens"], usage["output_tokens"])
    assert tokens["total"] >= tokens["input"] + tokens["output"] > 0
    metrics = agent.http.get("/metrics").text
    assert f'dcops_tokens_today{{kind="output"}} {float(tokens["output"])}' in metrics
    assert "dcops_daily_token_budget 1.0" in metrics

    answer = refused(agent, session)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (429, "daily_token_budget")
    assert f"{tokens['total']} of 1 tokens" in error["message"]
    assert "midnight" in error["do"]
    midnight = 86400 - (datetime.now(UTC).hour * 60 + datetime.now(UTC).minute) * 60
    assert 0 < int(answer.headers["retry-after"]) <= midnight
    assert refused(agent, session, **{"Idempotency-Key": "first"}).json() == {"turn": first}

    agent.set_toggles(3)
    agent.until(lambda: agent.report()["tokens"]["budget"] == 0)
    assert refused(agent, session).status_code == 202


def test_the_tokens_of_the_day_are_those_of_all_instances(make_agent: Any) -> None:
    one, two = make_agent("i1").start().ready(), make_agent("i2").start().ready()
    one.run(one.session(), "hello")
    assert two.report()["tokens"] == one.report()["tokens"]
    assert two.report()["tokens"]["total"] > 0


def test_no_session_has_a_budget_of_its_own(shared: Any) -> None:
    answer = shared.http.post("/v1/sessions", json={"toggles": {"daily_token_budget": 0}})
    assert answer.status_code == 400
    assert "daily_token_budget" in answer.json()["error"]["message"]


def test_a_message_over_the_limit_is_refused_and_starts_nothing(shared: Any) -> None:
    session = shared.session()
    answer = shared.http.post(f"/v1/sessions/{session}/turns", json={"input": "x" * 1_000_000})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
    assert "1000000 bytes" in answer.json()["error"]["do"]
    assert shared.http.get(f"/v1/sessions/{session}").json()["last_seq"] == 0


def test_two_sessions_do_not_see_each_others_files_and_a_removed_ones_go(agent: Any) -> None:
    one, two = agent.session(), agent.session()
    agent.run(one, "run: echo first | tee same")
    agent.run(two, "run: echo second > same; pwd")
    places = {session: agent.workspace / session for session in (one, two)}
    assert (places[one] / "same").read_text() == "first\n"
    assert (places[two] / "same").read_text() == "second\n"
    outputs = agent.state / "outputs" / one
    assert outputs.is_dir()
    assert agent.http.delete(f"/v1/sessions/{one}").status_code == 204
    assert not places[one].exists()
    assert not outputs.exists()
    assert (places[two] / "same").exists()
    assert agent.http.get(f"/v1/sessions/{one}").status_code == 404


def test_a_session_that_nobody_uses_is_removed_by_the_instance_that_serves(make_agent: Any) -> None:
    warm = make_agent("i1", DCOPS_SESSIONS_KEEP="1")
    warm.set_role("warm", 3600)
    warm.start()
    session = warm.session()
    serving = make_agent("i2", DCOPS_SESSIONS_KEEP="1").start().ready()
    serving.until(lambda: not serving.http.get("/v1/sessions").json())
    gone = {
        line["instance"]
        for agent in (warm, serving)
        for line in agent.log_lines()
        if line.get("session") == session
    }
    assert gone == {"i2"}
