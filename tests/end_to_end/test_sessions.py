"""Conversations go on while releases change under them."""

from __future__ import annotations

import time
from itertools import islice
from typing import TYPE_CHECKING

import pytest

from dcops.errors import DcopsError
from dcops.verification.model import call, reply, text

from .site import Site, texts, until
from .traffic import ends, transcript

if TYPE_CHECKING:
    from dcops.client import Client, Event

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600)]
WORDS = " ".join(f"word{number}" for number in range(200))


def turn_events(client: Client, session: str, turn: str) -> list[Event]:
    """The events of a turn to its end, from wherever the session's stream is served."""
    seen = []
    for _, event in client.events(session):
        if seen or event.get("runId") == turn:
            seen.append(event)
        if seen and ends(event, turn):
            return seen
    raise AssertionError("the stream ended")


def spoke(client: Client, session: str) -> bool:
    return any(event["type"] == "TEXT_MESSAGE_CONTENT" for _, event in transcript(client, session))


def test_a_candidate_touches_none_of_thirty_running_turns(deployed: Site) -> None:
    client, model = deployed.client, deployed.model()
    model.replies(*[reply(text(WORDS), stall_after=10, gate="deployed") for _ in range(30)])
    sessions = [client.create_session() for _ in range(30)]
    turns = {session: client.start_turn(session, "Count.") for session in sessions}
    until(lambda: all(spoke(client, session) for session in sessions), 60, "all turns stream")
    old = deployed.current().serving
    deployed.deploy("while thirty turns run")
    assert deployed.current().serving != old
    states = [client.session(session)["running"] for session in sessions]
    assert states == list(turns.values())
    model.open("deployed")
    for session, turn in turns.items():
        events = turn_events(client, session, turn)
        assert events[-1]["type"] == "RUN_FINISHED"
        assert texts(events) == WORDS


def test_a_session_goes_on_across_a_deploy(deployed: Site) -> None:
    client = deployed.client
    deployed.model().replies(reply(text("The first answer.")))
    session = client.create_session()
    turn_events(client, session, client.start_turn(session, "The first question."))
    deployed.deploy("a session goes on")
    model = deployed.model()
    model.replies(reply(text("The second answer.")))
    answered = turn_events(client, session, client.start_turn(session, "The second question."))
    assert texts(answered) == "The second answer."
    said = [
        (message["role"], "".join(block["text"] for block in message["content"]))
        for message in model.requests()[-1]["messages"]
    ]
    assert said == [
        ("user", "The first question."),
        ("assistant", "The first answer."),
        ("user", "The second question."),
    ]
    assert model.problems() == []


def test_a_stream_that_reconnects_gets_each_event_once_while_the_old_instance_writes(deployed: Site) -> None:
    client, model = deployed.client, deployed.model()
    model.replies(reply(text(WORDS), stall_after=10, gate="deployed", delay=0.02))
    session = client.create_session()
    turn = client.start_turn(session, "Count.")
    until(lambda: spoke(client, session), 30, "it streams")
    deployed.deploy("while the old one writes")
    model.open("deployed")
    seen: list[tuple[int, Event]] = []
    connections = 0
    while not (seen and ends(seen[-1][1], turn)):
        connections += 1
        stream = client.stream(session, seen[-1][0] if seen else 0)
        for seq, event in islice(stream, 5):
            if seq is not None:
                seen.append((seq, event))
            if ends(event, turn):
                break  # the session's stream goes on
        stream.close()
    assert connections > 5
    assert seen == transcript(client, session)
    assert [seq for seq, _ in seen] == list(range(1, len(seen) + 1))
    assert texts([event for _, event in seen]) == WORDS


@pytest.mark.parametrize("busy", ["model", "tool"])
def test_a_turn_is_stopped_at_once_wherever_it_runs(deployed: Site, busy: str) -> None:
    client, model = deployed.client, deployed.model()
    streaming = reply(text(WORDS), stall_after=10, gate="never")
    running = reply(call("call_1", "bash", command="echo begun; sleep 120"))
    model.replies(*[streaming if busy == "model" else running for _ in range(6)])
    sessions = [client.create_session() for _ in range(6)]
    turns = {session: client.start_turn(session, "Go.") for session in sessions}
    begun = "TEXT_MESSAGE_CONTENT" if busy == "model" else "tool.output"
    for session in sessions:
        until(lambda session=session: happened(client, session, begun), 30, begun)
    old = deployed.current().serving
    on_serving = [stop_seconds(client, session, turns[session]) for session in sessions[:3]]
    deployed.deploy(f"{busy} first")
    deployed.deploy(f"{busy} second")
    assert deployed.current().roles[old] == "draining"
    assert deployed.place.client(deployed.current().records[old]).instance()["running_turns"] == 3
    on_draining = [stop_seconds(client, session, turns[session]) for session in sessions[3:]]
    assert min(on_serving) <= 0.25, on_serving  # a busy machine holds up any one of them
    assert min(on_draining) <= 0.25, on_draining
    until(lambda: ended(deployed, old), 30, "the draining instance ends")


def happened(client: Client, session: str, what: str) -> bool:
    return any(what in (event["type"], event.get("name")) for _, event in transcript(client, session))


def ended(site: Site, instance: str) -> bool:
    try:
        return not site.current().runs(instance)
    except DcopsError:
        return False


def stop_seconds(client: Client, session: str, turn: str) -> float:
    """From the request to stop until the end of the turn arrives in an open stream."""
    after = int(client.session(session)["last_seq"])
    stream = client.stream(session, after)
    began = time.monotonic()
    client.stop(session)
    for _, event in stream:
        if ends(event, turn):
            assert event["type"] == "RUN_FINISHED"
            assert event["outcome"] == {"type": "cancelled"}
            return time.monotonic() - began
    raise AssertionError("the stream ended before the turn")
