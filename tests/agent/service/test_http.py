"""Sessions and errors over a real socket."""

import sqlite3
from contextlib import closing
from typing import Any

import pytest

pytestmark = pytest.mark.slow  # a real instance imports the SDK first


def test_the_instance_reports_itself(listening: Any) -> None:
    digest = listening.set_toggles(8, max_tokens=50_000)
    listening.until(lambda: listening.report()["toggles"]["generation"] == 8)
    report = listening.report()
    state = report.pop("state")
    assert report == {
        "instance": "i1",
        "release": "release-1",
        "role": "serving",
        "role_acknowledged": "serving",
        "toggles": {"generation": 8, "digest": digest, "error": None},
        "turns_off": False,
        "running_turns": 0,
        "draining_done": False,
        "tokens": {"input": 0, "output": 0, "cache_read": 0, "cache_write": 0, "total": 0, "budget": 0},
    }
    assert state.keys() == {"id", "created", "schema", "min_reader"}
    assert listening.http.get("/version").json() == {"release": "release-1", "implementation": "agent"}


def test_bad_toggles_are_reported_and_change_nothing(agent: Any) -> None:
    agent.set_toggles(2, max_tokens=-5)
    error = agent.until(lambda: agent.report()["toggles"]["error"])
    assert "max_tokens" in error
    assert agent.report()["toggles"]["generation"] == 1
    assert agent.http.get("/readyz").status_code == 200
    agent.set_toggles(3, digest="0" * 64)
    agent.until(lambda: "digest" in agent.report()["toggles"]["error"])
    agent.set_toggles(4, max_tokens=50_000)
    agent.until(lambda: agent.report()["toggles"]["generation"] == 4)
    assert agent.report()["toggles"]["error"] is None


def test_toggles_are_told_with_their_effect_on_the_model(listening: Any) -> None:
    listening.set_toggles(2, api_model="claude-3-haiku-20240307", max_tokens=10_000, thinking_budget=2000)
    listening.until(lambda: listening.report()["toggles"]["generation"] == 2)
    told = listening.http.get("/v1/toggles").json()
    assert told["values"]["max_tokens"] == 10_000
    assert told["values"]["debug_logging"] is False
    assert told["pending"] == []
    assert told["effects"].keys() == {
        "max_tokens",
        "use_extended_output",
        "use_streaming_thinking",
        "thinking_budget",
        "enable_tool_thinking",
        "tool_thinking_budget",
    }


def test_the_master_switch_holds_new_turns_and_lets_running_ones_end(agent: Any) -> None:
    running, idle = agent.session(), agent.session()
    agent.turn(running, "run: while [ ! -e go ]; do sleep 0.02; done; echo over")
    agent.set_toggles(2, take_turns=False)
    agent.until(lambda: agent.report()["turns_off"])
    for path, body in {
        f"/v1/sessions/{idle}/turns": {"input": "hello"},
        "/agui": {"threadId": "new", "messages": [{"id": "m", "role": "user", "content": "hello"}]},
    }.items():
        refused = agent.http.post(path, json=body)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "turns_off")
        assert "take_turns" in refused.json()["error"]["do"]
    assert agent.http.get("/readyz").status_code == 200
    assert ">no new turns: they are switched off<" in agent.http.get("/").text
    assert agent.http.get(f"/v1/sessions/{idle}").json()["last_seq"] == 0
    go = agent.workspace / running / "go"
    agent.until(go.parent.is_dir)
    go.touch()
    assert agent.until_end(running)[-1][1]["type"] == "RUN_FINISHED"
    agent.set_toggles(3, take_turns=True)
    agent.until(lambda: not agent.report()["turns_off"])
    assert agent.run(idle, "hello")[-1][1]["type"] == "RUN_FINISHED"


def test_debug_logging_works_while_running(agent: Any) -> None:
    agent.session()
    agent.http.get("/v1/sessions")
    assert not [line for line in agent.log_lines() if line["level"] == "debug"]
    agent.set_toggles(2, debug_logging=True)
    agent.until(lambda: agent.report()["toggles"]["generation"] == 2)
    agent.session()
    agent.until(lambda: [line for line in agent.log_lines() if line["level"] == "debug"])
    agent.set_toggles(3, debug_logging=False)
    agent.until(lambda: agent.report()["toggles"]["generation"] == 3)
    lines = len(agent.log_lines())
    agent.session()
    assert len(agent.log_lines()) == lines


def test_a_session_is_made_changed_and_removed(listening: Any) -> None:
    session = listening.session(max_tokens=40_000)
    assert listening.http.get(f"/v1/sessions/{session}").json()["toggles"] == {"max_tokens": 40_000}
    change = {"title": "A name", "toggles": {"max_tokens": 50_000}}
    changed = listening.http.patch(f"/v1/sessions/{session}", json=change).json()
    assert (changed["title"], changed["toggles"]) == ("A name", {"max_tokens": 50_000})
    assert [one["id"] for one in listening.http.get("/v1/sessions").json()] == [session]
    assert listening.http.delete(f"/v1/sessions/{session}").status_code == 204
    assert listening.http.get("/v1/sessions").json() == []


def test_a_synthetic_session_is_not_listed(listening: Any) -> None:
    made = listening.http.post("/v1/sessions", json={"synthetic": True})
    assert made.status_code == 201
    assert listening.http.get("/v1/sessions").json() == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/turns"),
        ("GET", "/events"),
        ("POST", "/stop"),
        ("GET", "/outputs/call"),
    ],
)
def test_an_unknown_session_is_not_found(shared: Any, method: str, path: str) -> None:
    body = {"input": "x"} if path == "/turns" else {"title": "x"} if method == "PATCH" else None
    answer = shared.http.request(method, f"/v1/sessions/none{path}", json=body)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "no_session"


def test_a_damaged_journal_is_no_bug_and_says_what_to_do(listening: Any) -> None:
    session = listening.session()
    with closing(sqlite3.connect(listening.state / "journal.db")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (listening.state / "journal.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"x" * 4096 * 20)
    for method, path in (("POST", "/v1/sessions"), ("GET", f"/v1/sessions/{session}")):
        answer = listening.http.request(method, path, json={})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "journal_unavailable")
        assert "malformed" in answer.json()["error"]["message"]
        assert "restore a backup" in answer.json()["error"]["do"]
    assert listening.answers("/healthz")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/sessions", b"{"),
        ("/v1/sessions", b"[]"),
        ("/v1/sessions", b'{"unknown": 1}'),
        ("/v1/sessions", b'{"toggles": {"max_tokens": 0}}'),
        ("/v1/sessions", b'{"toggles": {"no_such": 0}}'),
        ("/v1/sessions", b'{"toggles": 5}'),
        ("/v1/sessions", b'{"toggles": {"max_tokens": 2000}}'),
        ("/v1/sessions", b'{"toggles": {"enforce_construction_prefix": true}}'),
        ("/v1/sessions", b'{"toggles": {"take_turns": true}}'),
        ("/v1/sessions", b'{"synthetic": "yes"}'),
        ("/v1/sessions", b"\xff"),
        ("/v1/sessions", b'"\\ud800"'),
        ("/v1/sessions", b"[" * 5000),
        ("/v1/sessions/SESSION/turns", b""),
        ("/v1/sessions/SESSION/turns", b'{"input": "  "}'),
        ("/v1/sessions/SESSION/turns", b'{"input": 5}'),
        ("/v1/sessions/SESSION/steer", b"{}"),
        ("/v1/sessions/SESSION/stop", b'{"input": "x"}'),
    ],
)
def test_malformed_requests_are_told_what_is_wrong(shared: Any, path: str, body: bytes) -> None:
    answer = shared.http.post(path.replace("SESSION", shared.session()), content=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "bad_request"
    assert answer.json()["error"]["do"]


def test_other_errors_are_json_too(shared: Any) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("PUT", "/v1/sessions", 405)):
        answer = shared.http.request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["do"]
    large = shared.http.post("/v1/sessions", content=b" " * 1_000_001)
    assert large.status_code == 413
    assert large.json()["error"]["do"]


def test_stop_without_a_turn_is_done_already_and_the_others_are_refused(shared: Any) -> None:
    session = shared.session()
    assert shared.http.post(f"/v1/sessions/{session}/stop").json() == {"turn": None}
    for kind in ("pause", "resume"):
        assert shared.http.post(f"/v1/sessions/{session}/{kind}").status_code == 409
    assert shared.http.post(f"/v1/sessions/{session}/steer", json={"input": "x"}).status_code == 409


def test_the_page_is_static_and_closed(shared: Any) -> None:
    page = shared.http.get("/", headers={"Authorization": ""})
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http://" not in page.text
    assert "https://" not in page.text
    assert "dcops chat tests" in page.text
    assert ">ready<" in page.text
    style = shared.http.get("/page.css", headers={"Authorization": ""})
    assert style.headers["content-type"].startswith("text/css")
    assert "url(" not in style.text


def test_metrics_are_told(agent: Any) -> None:
    text = agent.http.get("/metrics").text
    assert "dcops_toggles_generation 1.0" in text
    assert "dcops_running_turns 0.0" in text
    assert "dcops_sse_clients 0.0" in text
