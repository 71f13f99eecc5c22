"""Deploys and rollbacks under traffic: nothing fails, nothing is cut, nothing is said twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .site import until
from .traffic import Traffic, transcript

if TYPE_CHECKING:
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
STREAMS, BUSY = 30, 8
WORK = "run: for i in 1 2 3 4 5 6 7 8; do echo step $i; sleep 0.2; done"


def test_ten_deploys_and_rollbacks_fail_no_request_and_cut_no_stream(deployed: Site) -> None:
    client = deployed.client
    sessions = [client.create_session() for _ in range(STREAMS)]
    traffic = Traffic(deployed.place.url, deployed.place.local.token())
    with traffic.running():
        for session in sessions:
            traffic.stream(session)
        for number in range(12):
            traffic.post(keep_alive=number < 6)
        for session in sessions[:BUSY]:
            traffic.turns(session, WORK)
        for number in range(5):
            deployed.change(f"traffic {number}")
            release = deployed.json("deploy", "dev")["deployment"]["revision"]["release"]
            assert client.version()["release"] == release
            deployed.dcops("rollback", "--env", "dev")
            assert client.version()["release"] != release
        traffic.finish_turns()
        last = {session: int(client.session(session)["last_seq"]) for session in sessions}
        until(lambda: all(stream.last == last[stream.session] for stream in traffic.streams), 30, "all read")
    assert traffic.failed == []
    assert [cut for stream in traffic.streams for cut in stream.cuts] == []
    assert traffic.answered > 1000
    assert all(stream.drains >= 9 for stream in traffic.streams[BUSY:]), "idle streams follow each switch"
    for stream in traffic.streams[:BUSY]:
        assert len(stream.seen) > 50
        assert stream.seen == transcript(client, stream.session), "each event once, in order"
        assert [seq for seq, _ in stream.seen] == list(range(1, stream.last + 1))
