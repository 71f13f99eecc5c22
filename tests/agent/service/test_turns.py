"""Turns and their event streams, with the scripted model."""

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest
from ag_ui.core import Event
from pydantic import TypeAdapter

pytestmark = pytest.mark.slow  # a real instance imports the SDK first

TEXT = {"content": [{"type": "text", "text": "Hello there."}], "stop_reason": "end_turn"}


def held(*gates: str) -> dict[str, Any]:
    """A reply that waits in the middle until its gate is opened."""
    return {"replies": [{**TEXT, "gate": gate, "stall_after": 2} for gate in gates], "after": "repeat"}


def texts(frames: list[Any]) -> str:
    return "".join(e["delta"] for _, e in frames if e["type"] == "TEXT_MESSAGE_CONTENT")


def test_a_turn_comes_as_a_stream_of_ag_ui_events(shared: Any) -> None:
    session = shared.session()
    frames = shared.run(session, "run: echo one; echo two >&2; exit 3")
    assert [seq for seq, _ in frames] == list(range(1, len(frames) + 1))
    types = [event["type"] for _, event in frames]
    assert types[0] == "RUN_STARTED"
    assert types[-1] == "RUN_FINISHED"
    assert {"TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"} <= set(types)
    adapter: TypeAdapter[Any] = TypeAdapter(Event)
    for _, event in frames:
        assert adapter.validate_python(event).type.value == event["type"]
    output = "".join(
        e["value"]["text"] for _, e in frames if e["type"] == "CUSTOM" and e["name"] == "tool.output"
    )
    assert "one" in output
    assert "two" in output


def test_a_stream_goes_on_where_it_was_left(shared: Any) -> None:
    session = shared.session()
    frames = shared.run(session, "hello")
    for after in range(len(frames)):
        assert shared.until_end(session, after) == frames[after:]


def test_the_cursor_may_be_in_the_query_and_must_be_a_number(shared: Any) -> None:
    session = shared.session()
    frames = shared.run(session, "hello")
    with shared.http.stream("GET", f"/v1/sessions/{session}/events?after={len(frames) - 1}") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 250"
        assert next(line for line in lines if line.startswith("id: ")) == f"id: {len(frames)}"
    for bad in ("x", "-1", "1.5"):
        assert shared.http.get(f"/v1/sessions/{session}/events?after={bad}").status_code == 400


def test_the_full_output_of_a_call_can_be_fetched(shared: Any) -> None:
    session = shared.session()
    frames = shared.run(session, "run: seq 1 5")
    call = next(e["toolCallId"] for _, e in frames if e["type"] == "TOOL_CALL_START")
    answer = shared.http.get(f"/v1/sessions/{session}/outputs/{call}")
    assert answer.text.split() == ["1", "2", "3", "4", "5"]
    assert answer.headers["content-type"].startswith("text/plain")
    assert shared.http.get(f"/v1/sessions/{session}/outputs/none").status_code == 404
    assert shared.http.get(f"/v1/sessions/{session}/outputs/..%2f..%2fjournal.db").status_code == 404


def test_one_turn_at_a_time_in_a_session(agent: Any) -> None:
    agent.model.script(agent.key, held("a"))
    session = agent.session()
    turn = agent.turn(session, "hello")
    second = agent.http.post(f"/v1/sessions/{session}/turns", json={"input": "more"})
    assert second.status_code == 409
    assert second.json()["error"]["turn"] == turn
    assert agent.http.delete(f"/v1/sessions/{session}").status_code == 409
    assert agent.report()["running_turns"] == 1
    agent.model.open_gate(agent.key, "a")
    assert texts(agent.until_end(session)) == "Hello there."


def test_a_repeated_idempotency_key_starts_nothing(shared: Any) -> None:
    session = shared.session()
    first = shared.turn(session, "hello", **{"Idempotency-Key": "k"})
    assert shared.turn(session, "hello", **{"Idempotency-Key": "k"}) == first
    frames = shared.until_end(session)
    assert shared.turn(session, "hello", **{"Idempotency-Key": "k"}) == first
    assert shared.http.get(f"/v1/sessions/{session}").json()["last_seq"] == len(frames)
    other = shared.http.post(
        f"/v1/sessions/{session}/turns", json={"input": "another"}, headers={"Idempotency-Key": "k"}
    )
    assert (other.status_code, other.json()["error"]["code"]) == (422, "key_reused")
    for bad in ("", "x" * 201):
        answer = shared.http.post(
            f"/v1/sessions/{session}/turns", json={"input": "x"}, headers={"Idempotency-Key": bad}
        )
        assert answer.status_code == 400


def test_too_many_turns_are_told_to_come_back(make_agent: Callable[..., Any]) -> None:
    agent = make_agent(DCOPS_MAX_RUNNING_TURNS="1").start().ready()
    agent.model.script(agent.key, held("a"))
    agent.turn(agent.session(), "hello")
    answer = agent.http.post(f"/v1/sessions/{agent.session()}/turns", json={"input": "x"})
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    agent.model.open_gate(agent.key, "a")
    agent.until(lambda: agent.report()["running_turns"] == 0)


def test_a_turn_is_stopped(shared: Any) -> None:
    session = shared.session()
    shared.turn(session, "run: echo started; sleep 60")
    for _, event in shared.stream(session):
        if event["type"] == "CUSTOM" and event["name"] == "tool.output":
            break
    assert shared.http.post(f"/v1/sessions/{session}/stop").status_code == 202
    frames = shared.until_end(session)
    assert frames[-1][1]["outcome"] == {"type": "cancelled"}
    shared.until(lambda: shared.report()["running_turns"] == 0)


def test_a_turn_is_paused_and_goes_on(shared: Any) -> None:
    session = shared.session()
    shared.turn(session, "run: sleep 0.5; echo over")
    events: list[Any] = []
    for _, event in shared.stream(session):
        events.append(event)
        if event.get("name") == "tool.started":
            shared.http.post(f"/v1/sessions/{session}/pause").raise_for_status()
        if event.get("name") == "paused" and event["value"]["paused"]:
            shared.until(lambda: shared.report()["running_turns"] == 1)
            shared.http.post(f"/v1/sessions/{session}/resume").raise_for_status()
        if event["type"] == "RUN_FINISHED":
            break
    assert [e["value"]["paused"] for e in events if e.get("name") == "paused"] == [True, False]


def test_a_turn_is_steered(shared: Any) -> None:
    session = shared.session()
    shared.turn(session, "run: sleep 0.5; echo over")
    runs = 0
    for _, event in shared.stream(session):
        if event.get("name") == "tool.started":
            runs += 1
        if event.get("name") == "tool.started" and runs == 1:
            steer = {"input": "run: echo steered"}
            shared.http.post(f"/v1/sessions/{session}/steer", json=steer).raise_for_status()
        if event["type"] == "RUN_FINISHED":
            break
    assert runs == 2


def test_a_turn_keeps_the_toggles_it_started_with(agent: Any) -> None:
    call = {"type": "tool_use", "name": "bash", "input": {"command": "true"}}
    agent.model.script(agent.key, {"replies": [{"content": [call], "gate": "a", "stall_after": 2}]})
    session = agent.session()
    agent.turn(session, "hello")
    agent.set_toggles(2, max_tokens=40_000, use_extended_output=False)
    agent.until(lambda: agent.report()["toggles"]["generation"] == 2)
    assert set(agent.http.get("/v1/toggles").json()["pending"]) == {"max_tokens", "use_extended_output"}
    agent.model.open_gate(agent.key, "a")
    last = agent.until_end(session)[-1][0]
    agent.until(lambda: agent.http.get("/v1/toggles").json()["pending"] == [])
    agent.run(session, "again", after=last)
    before, behind, later = [request["body"]["max_tokens"] for request in agent.model.requests(agent.key)]
    assert before == behind != later == 40_000


def test_a_sessions_own_toggles_win(shared: Any) -> None:
    off = shared.session(use_streaming_bash=False)
    on = shared.session()
    names = {
        session: [e["name"] for _, e in shared.run(session, "run: echo x") if e["type"] == "CUSTOM"]
        for session in (off, on)
    }
    assert "tool.output" not in names[off]
    assert "tool.output" in names[on]


def test_two_readers_get_the_same(shared: Any) -> None:
    session = shared.session()
    first = shared.run(session, "hello")
    assert shared.until_end(session) == first


def test_a_removed_session_ends_its_streams(agent: Any) -> None:
    session = agent.session()
    with agent.http.stream("GET", f"/v1/sessions/{session}/events") as answer:
        assert answer.status_code == 200
        lines = answer.iter_lines()
        assert next(lines) == "retry: 250"
        assert "dcops_sse_clients 1.0" in agent.http.get("/metrics").text
        agent.http.delete(f"/v1/sessions/{session}")
        assert [line for line in lines if line] == []


def test_a_stream_that_the_client_leaves_is_closed(shared: Any) -> None:
    session = shared.session()
    with shared.http.stream("GET", f"/v1/sessions/{session}/events") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "retry: 250"
        assert "dcops_sse_clients 1.0" in shared.http.get("/metrics").text
    shared.until(lambda: "dcops_sse_clients 0.0" in shared.http.get("/metrics").text)


def test_another_instance_serves_the_stream_and_the_stop(make_agent: Callable[..., Any]) -> None:
    owner, other = make_agent("i1").start(), make_agent("i2").start()
    assert owner.ready()
    assert other.ready()
    session = owner.session()
    owner.turn(session, "run: echo started; sleep 60")
    frames = []
    for frame in other.stream(session):
        frames.append(frame)
        if frame[1]["type"] == "CUSTOM" and frame[1]["name"] == "tool.output":
            assert other.http.post(f"/v1/sessions/{session}/stop").status_code == 202
        if frame[1]["type"] == "RUN_FINISHED":
            break
    assert frames == owner.until_end(session)
    assert other.report()["running_turns"] == 0


def test_a_turn_on_a_draining_instance_is_stopped_through_another(make_agent: Callable[..., Any]) -> None:
    owner, other = make_agent("i1").start(), make_agent("i2").start()
    assert owner.ready()
    assert other.ready()
    session = owner.session()
    owner.turn(session, "run: echo started; sleep 60")
    begun = ended = 0.0
    for _, event in other.stream(session):
        if event.get("name") == "tool.output":
            owner.set_role("draining", 3600)
            owner.acknowledged("draining")
            begun = time.monotonic()
            assert other.http.post(f"/v1/sessions/{session}/stop").status_code == 202
        if event["type"] == "RUN_FINISHED":
            ended = time.monotonic()
            break
    assert ended - begun < 2  # 0.1 s where the machine is not busy
    assert owner.exit_code() == 0
    assert other.run(session, "hello")[-1][1]["type"] == "RUN_FINISHED"


def test_ag_ui_runs_a_turn_in_one_request(shared: Any) -> None:
    session = shared.session()
    shared.run(session, "hello")
    body = {
        "threadId": session,
        "runId": "r",
        "state": {},
        "messages": [{"id": "1", "role": "user", "content": "hello again"}],
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }
    answer = shared.http.post("/agui", json=body, timeout=30)
    assert answer.status_code == 200
    data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    adapter: TypeAdapter[Any] = TypeAdapter(Event)
    types = [adapter.validate_json(line).type.value for line in data]
    assert (types[0], types[-1]) == ("RUN_STARTED", "RUN_FINISHED")
    assert types.count("RUN_STARTED") == 1


def run_of(agent: Any, **body: Any) -> list[dict[str, Any]]:
    answer = agent.http.post("/agui", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    return [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]


def test_ag_ui_makes_the_thread_and_keeps_the_clients_ids(shared: Any) -> None:
    thread, run = f"thread-{secrets.token_hex(4)}", f"run-{secrets.token_hex(4)}"
    body = {"threadId": thread, "runId": run, "messages": [{"id": "1", "role": "user", "content": "hello"}]}
    events = run_of(shared, **body)
    ids = {"threadId": thread, "runId": run}
    assert ids.items() <= events[0].items()
    assert ids.items() <= events[-1].items()
    again = run_of(shared, **body)
    assert again == events
    following = [{"id": "2", "role": "user", "content": "more"}]
    assert run_of(shared, threadId=thread, messages=following)[0]["threadId"] == thread
    answer = shared.http.post("/agui", json={**body, "messages": following})
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "key_reused")
    assert shared.http.get(f"/v1/sessions/{thread}").json()["title"] == "hello"


@pytest.mark.parametrize(
    "ids", [{"threadId": "a/b"}, {"threadId": ".."}, {"threadId": "t", "runId": "x" * 129}]
)
def test_ag_ui_ids_must_fit_into_addresses(shared: Any, ids: dict[str, str]) -> None:
    body = {**ids, "messages": [{"id": "1", "role": "user", "content": "hello"}]}
    answer = shared.http.post("/agui", json=body)
    assert answer.status_code == 400
    assert "id" in answer.json()["error"]["message"]


def test_a_cursor_beyond_the_end_hears_what_comes(shared: Any) -> None:
    session = shared.session()
    path = f"/v1/sessions/{session}/events"
    with shared.http.stream("GET", path, headers={"Last-Event-ID": "999"}) as answer:
        shared.turn(session, "hello")
        assert next(line for line in answer.iter_lines() if line.startswith("id: ")) == "id: 1"


def test_a_head_request_does_not_wait_for_events(shared: Any) -> None:
    answer = shared.http.head(f"/v1/sessions/{shared.session()}/events")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")


@pytest.mark.parametrize("messages", [[], [{"role": "assistant", "content": "x"}], "x", [{"role": "user"}]])
def test_ag_ui_input_is_checked(shared: Any, messages: Any) -> None:
    answer = shared.http.post("/agui", json={"threadId": shared.session(), "messages": messages})
    assert answer.status_code == 400


def test_a_turn_whose_instance_died_is_closed_by_another(make_agent: Callable[..., Any]) -> None:
    owner, other = make_agent("i1").start(), make_agent("i2").start()
    assert owner.ready()
    assert other.ready()
    session = owner.session()
    owner.turn(session, "run: echo started; sleep 60")
    events = []
    for _, event in other.stream(session):
        events.append(event)
        if event.get("name") == "tool.output":
            owner.process.kill()
        if event["type"] in {"RUN_FINISHED", "RUN_ERROR"}:
            break
    assert "turn.interrupted" in [event.get("name") for event in events]
    assert other.run(session, "hello", after=len(events))[-1][1]["type"] == "RUN_FINISHED"


def test_turns_and_tools_are_counted(agent: Any) -> None:
    agent.run(agent.session(), "run: true")
    agent.until(lambda: agent.report()["running_turns"] == 0)
    text = agent.http.get("/metrics").text
    assert 'dcops_turns_total{state="done"} 1.0' in text
    assert 'dcops_tool_seconds_count{status="done",tool="bash"} 1.0' in text
    assert "dcops_time_to_first_token_seconds_count 1.0" in text
    assert "dcops_running_turns 0.0" in text
