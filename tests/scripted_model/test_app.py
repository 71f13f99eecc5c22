from __future__ import annotations

import hashlib
import threading
import time

import httpx2
import pytest

from .conftest import HEADERS, HELLO, HTTP, Caller, Process, eventually

LONG = {"content": [{"type": "text", "text": "one two three four"}]}


def said(response: httpx2.Response) -> str:
    return str(response.raise_for_status().json()["content"][0]["text"])


def says(text: str) -> dict[str, object]:
    return {"content": [{"type": "text", "text": text}]}


def test_replies_come_in_order_and_then_the_assistant(caller: Caller) -> None:
    caller.script(says("first"), says("second"))
    assert [said(caller.post()) for _ in range(2)] == ["first", "second"]
    assert said(caller.post()).startswith("I am the offline assistant")
    assert caller.state() == {
        "replies": 2,
        "after": "assistant",
        "consumed": 2,
        "requests": 3,
        "gates": {"opened": [], "waiting": []},
    }


def test_a_used_up_script_can_fail_or_repeat(caller: Caller) -> None:
    caller.script(says("only"), after="error")
    assert said(caller.post()) == "only"
    response = caller.post()
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")
    caller.script(says("a"), says("b"), after="repeat")
    assert [said(caller.post()) for _ in range(5)] == ["a", "b", "a", "b", "a"]


def test_callers_do_not_hear_each_other_s_scripts(caller: Caller) -> None:
    caller.script(says("mine"))
    assert said(Caller(caller.url).post()).startswith("I am the offline assistant")
    assert said(caller.post()) == "mine"


def test_a_key_in_the_other_header_is_the_same_caller(caller: Caller) -> None:
    caller.script(says("mine"))
    headers = HEADERS | {"authorization": f"Bearer {caller.key}"}
    assert said(HTTP.post(f"{caller.url}/v1/messages", headers=headers, json=HELLO)) == "mine"


def test_a_deleted_script_is_gone(caller: Caller) -> None:
    caller.script(says("mine"))
    assert HTTP.delete(caller.path).status_code == 200
    assert said(caller.post()).startswith("I am the offline assistant")
    for method in ("GET", "DELETE"):
        assert HTTP.request(method, caller.path).status_code == 404


def test_a_bad_script_is_refused_with_its_place_and_the_old_one_stays(caller: Caller) -> None:
    caller.script(says("old"))
    response = HTTP.put(caller.path, json={"replies": [says("new") | {"chunk": -1}]})
    assert response.status_code == 400
    assert response.json()["error"]["path"] == "replies[0].chunk"
    assert HTTP.put(caller.path, content=b"{").status_code == 400
    assert HTTP.put(f"{caller.url}/scripts/short", json={}).status_code == 400
    assert said(caller.post()) == "old"


def test_a_stream_stands_at_its_gates_until_they_open(caller: Caller) -> None:
    caller.script(LONG | {"holds": [{"after": 4, "gate": "a"}, {"after": 5, "gate": "b"}]})
    with HTTP.stream(
        "POST", f"{caller.url}/v1/messages", headers=caller.headers, json=HELLO | {"stream": True}
    ) as response:
        frames = (line for line in response.iter_lines() if line.startswith("event:"))
        before = [next(frames) for _ in range(4)]
        assert before[-1] == "event: content_block_delta"
        for gate in ("a", "b"):
            eventually(lambda gate=gate: caller.state()["gates"]["waiting"] == [gate])  # type: ignore[misc]
            caller.open_gate(gate)
        assert list(frames)[-1] == "event: message_stop"


@pytest.mark.parametrize("how", ["put", "delete"])
def test_a_replaced_script_lets_its_streams_go(caller: Caller, how: str) -> None:
    caller.script(LONG | {"gate": "never"})
    answers: list[httpx2.Response] = []
    waiting = threading.Thread(target=lambda: answers.append(caller.post()))
    waiting.start()
    eventually(lambda: caller.state()["gates"]["waiting"] == ["never"])
    caller.script() if how == "put" else HTTP.delete(caller.path)
    waiting.join(10)
    assert said(answers[0]) == "one two three four"


def test_a_client_that_leaves_frees_its_gate(caller: Caller) -> None:
    caller.script(LONG | {"stall_after": 1, "gate": "never"})
    with HTTP.stream(
        "POST", f"{caller.url}/v1/messages", headers=caller.headers, json=HELLO | {"stream": True}
    ):
        eventually(lambda: caller.state()["gates"]["waiting"] == ["never"])
        assert HTTP.get(f"{caller.url}/v1/instance").json()["running_turns"] >= 1
    eventually(lambda: caller.state()["gates"]["waiting"] == [])


def test_delays_are_kept(caller: Caller) -> None:
    caller.script(LONG | {"delay": 0.05, "first_delay": 0.1})
    started = time.monotonic()
    caller.post(stream=True)
    assert time.monotonic() - started >= 0.3


def test_a_stream_without_an_end_ends_cleanly(caller: Caller) -> None:
    caller.script({"events": [{"type": "ping"}, {"type": "new_kind", "index": 3}]})
    assert caller.post(stream=True).content == (
        b'event: ping\ndata: {"type":"ping"}\n\nevent: new_kind\ndata: {"type":"new_kind","index":3}\n\n'
    )


def test_a_whole_reply_can_be_cut_or_fail_too(caller: Caller) -> None:
    caller.script(LONG | {"disconnect_after": 2}, LONG | {"error_after": 2})
    with pytest.raises(httpx2.RemoteProtocolError):
        caller.post()
    assert caller.post().status_code == 529


def test_ids_differ_between_equal_requests(caller: Caller) -> None:
    call = {"content": [{"type": "tool_use", "name": "bash"}, {"type": "tool_use", "name": "bash"}]}
    caller.script(call, after="repeat")
    ids = [block["id"] for _ in range(2) for block in caller.post().json()["content"]]
    assert len(set(ids)) == 4


def test_what_is_no_request_is_refused_in_the_api_s_shape(server: Process, caller: Caller) -> None:
    def post(headers: dict[str, str], content: bytes) -> tuple[int, str, str]:
        response = HTTP.post(f"{server.url}/v1/messages", headers=headers, content=content)
        error = response.json()["error"]
        return response.status_code, error["type"], error["message"]

    assert post(HEADERS, b"{}") == (401, "authentication_error", "x-api-key header is required")
    assert post({"x-api-key": "k"}, b"{}")[:2] == (400, "invalid_request_error")
    assert post(caller.headers, b"{")[2].startswith("The request body is not valid JSON")
    assert post(caller.headers, b"[]")[2] == "Input should be a valid dictionary"
    assert post(caller.headers, b" " * (32 * 1024 * 1024 + 1))[:2] == (413, "request_too_large")


def test_an_engine_s_questions_are_answered(server: Process) -> None:
    answer = HTTP.get(f"{server.url}/v1/instance").json()
    assert (answer["instance"], answer["release"], answer["role"]) == ("i1", "r1", "model")
    assert answer["toggles"]["digest"] == hashlib.sha256(b"{}").hexdigest()
    assert HTTP.get(f"{server.url}/version").json() == {"release": "r1", "implementation": "scripted_model"}
    for path in ("/healthz", "/readyz"):
        assert HTTP.get(server.url + path).status_code == 200


def test_a_recorded_stream_has_its_thinking_remembered(caller: Caller) -> None:
    thinking = {"type": "thinking", "thinking": "seen", "signature": "recorded-1"}
    caller.script({"content": [thinking, {"type": "text", "text": "x"}]})
    recorded = caller.post(stream=True).text.replace("recorded-1", "recorded-2")
    caller.script({"sse": recorded})
    assert caller.post(stream=True).text == recorded
    changed = thinking | {"thinking": "unseen", "signature": "recorded-2"}
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [changed]},
        HELLO["messages"][0],
    ]
    assert "Invalid `signature`" in caller.post(messages=messages).text


def test_a_stop_sequence_ends_a_reply_and_is_left_out(caller: Caller) -> None:
    caller.script(
        {"content": [{"type": "text", "text": "one STOP two END"}, {"type": "text", "text": "three"}]}
    )
    told = caller.post(stop_sequences=["END", "STOP"]).json()
    assert [block["text"] for block in told["content"]] == ["one "]
    assert (told["stop_reason"], told["stop_sequence"]) == ("stop_sequence", "STOP")
