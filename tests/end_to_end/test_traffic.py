"""Deploys and rollbacks under traffic: nothing fails, nothing is cut, nothing is said twice or otherwise."""

from __future__ import annotations

import random
import re
import signal
import subprocess
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

from .site import until
from .traffic import Traffic, transcript

if TYPE_CHECKING:
    from dcops.client import Client, Event

    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(1500)]
BUSY, IDLE, ROUNDS, DEATHS = 30, 4, 10, 6
WORK = "run: for i in 1 2 3 4 5 6; do echo step $i; sleep 0.3; done"
# A shell ends with its instance, and the next one's first result tells the model, which counts lines: the one
# difference that is allowed.
NEW_SHELL = re.compile(r"\[a new shell in [^\]]*\]\n|(?<= is done): \d+ lines")
MERGED = {"TEXT_MESSAGE_CONTENT": "delta", "REASONING_MESSAGE_CONTENT": "delta", "TOOL_CALL_ARGS": "delta"}


def told(events: list[Event]) -> list[list[tuple[str, str]]]:
    """The turns of a session without times and ids: each message's text in one piece, the rest in order.

    What a reply has cost is told when its stream has ended, and its calls run meanwhile: it stands last here.
    """
    turns: list[list[tuple[str, str]]] = []
    for event in events:
        if event["type"] == "RUN_STARTED":
            turns.append([])
        turns[-1].append(_gist(event))
    for turn in turns:
        turn.sort(key=lambda each: each[0] == "usage")
    return [
        [_joined(kind, list(group)) for kind, group in groupby(turn, lambda each: each[0])] for turn in turns
    ]


def _gist(event: Event) -> tuple[str, str]:
    kind, value = event["type"], event.get("value")
    if kind == "CUSTOM":
        shown = value.get("text", "") if event["name"] == "tool.output" and isinstance(value, dict) else ""
        return str(event["name"]), shown
    return kind, str(event.get(MERGED.get(kind, "content"), ""))


def _joined(kind: str, group: list[tuple[str, str]]) -> tuple[str, str]:
    merges = kind in MERGED or kind == "tool.output"
    said = "".join(text for _, text in group) if merges else f"{len(group)} x {group[0][1]}"
    return kind, NEW_SHELL.sub("", said)


def reference(client: Client) -> list[tuple[str, str]]:
    """What a turn of the same work says while nothing is deployed."""
    session = client.create_session()
    for _ in range(2):
        client.start_turn(session, WORK)
        until(lambda: client.session(session)["running"] is None, 30, "the turn ends")
    first, second = told([event for _, event in transcript(client, session)])
    assert first == second
    assert any("step 6" in text for kind, text in first if kind == "tool.output")
    return first


def die_at_random(site: Site, chance: random.Random, words: list[str]) -> None:
    """Kill a command at any moment, and finish or take back what it began, if it came to begin."""
    running = subprocess.Popen(
        site.command(*words),
        cwd=site.root,
        env=site.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        running.communicate(timeout=chance.uniform(0.3, 3.0))
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGKILL)
        running.communicate()
    if site.current().unfinished is not None:
        site.dcops(chance.choice(["resume", "abort"]), "dev")


def test_deploys_and_rollbacks_and_the_death_of_dcops_are_seen_by_nobody(deployed: Site) -> None:
    client = deployed.client
    expected = reference(client)
    sessions = [client.create_session() for _ in range(BUSY + IDLE)]
    traffic = Traffic(deployed.place.url, deployed.place.local.token())
    with traffic.running():
        for session in sessions:
            traffic.stream(session)
        for number in range(12):
            traffic.post(keep_alive=number < 6)
        traffic.upload()
        for session in sessions[:BUSY]:
            traffic.turns(session, WORK)
        for number in range(ROUNDS):
            deployed.change(f"traffic {number}")
            release = deployed.json("deploy", "dev")["deployment"]["revision"]["release"]
            assert client.version()["release"] == release
            deployed.dcops("rollback", "--env", "dev")
            assert client.version()["release"] != release
        chance = random.Random(20)
        for number in range(DEATHS):
            deployed.change(f"death {number}")
            die_at_random(deployed, chance, ["deploy", "dev"] if number % 3 else ["rollback", "--env", "dev"])
        traffic.finish_turns()
        last = {session: int(client.session(session)["last_seq"]) for session in sessions}
        until(lambda: all(stream.last == last[stream.session] for stream in traffic.streams), 30, "all read")
    assert traffic.failed == []
    assert [cut for stream in traffic.streams for cut in stream.cuts] == []
    assert traffic.answered > 1000
    assert all(stream.drains >= 2 * ROUNDS - 1 for stream in traffic.streams[BUSY:]), "idle ones follow"
    for stream in traffic.streams[:BUSY]:
        seen = told([event for _, event in stream.seen])
        # A replay joins pieces, under the last one's number.
        assert seen == told([event for _, event in transcript(client, stream.session)])
        numbers = [seq for seq, _ in stream.seen]
        assert numbers == sorted(set(numbers)), "each event once, in order"
        for turn in seen:
            assert turn == expected


def test_what_a_turn_tells_is_compared_without_ids() -> None:
    def turn(**event: Any) -> list[Event]:
        return [{"type": "RUN_STARTED", "runId": "1"}, {"type": "TEXT_MESSAGE_CONTENT", **event}]

    assert told(turn(delta="a", messageId="m")) == told(turn(delta="a", messageId="n"))
    assert told(turn(delta="a")) != told(turn(delta="b"))
