"""The switch of an emergency by the command line, on both engines, with the agent that ships."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from dcops.errors import PreconditionMissing

from .site import until

if TYPE_CHECKING:
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

MOST_SECONDS = 1.0


def refused(site: Site, session: str) -> str:
    """Why no turn starts; empty where one did."""
    try:
        site.client.start_turn(session, "hello")
    except PreconditionMissing as error:
        return error.code
    return ""


def seconds_to_refusal(site: Site) -> float:
    """From the command's start to the first turn that is refused."""
    session = site.client.create_session(synthetic=True)
    command = threading.Thread(target=site.dcops, args=("toggle", "kill", "--env", "dev", "--reason", "test"))
    began = time.monotonic()
    command.start()
    until(lambda: refused(site, session) == "DC-TURNS-OFF", 20, "refused")
    taken = time.monotonic() - began
    command.join()
    return taken


def test_new_turns_are_refused_at_once(deployed: Site) -> None:
    taken = []
    for _ in range(3):  # the fastest counts, since a busy machine may hold up any one of them
        taken.append(seconds_to_refusal(deployed))
        assert deployed.client.ready() == (True, [])
        row = deployed.status()
        assert row["state"] == "running"
        assert [each["code"] for each in row["problems"]] == ["DC-TURNS-OFF"]
        deployed.dcops("toggle", "set", "take_turns", "true", "--env", "dev")
        assert refused(deployed, deployed.client.create_session(synthetic=True)) == ""
        if taken[-1] <= MOST_SECONDS:
            break
    assert min(taken) <= MOST_SECONDS, f"refused after {taken} s"


def test_a_deploy_goes_through_while_turns_are_off(deployed: Site) -> None:
    """The mended release is verified, and serves with the switch as it is."""
    deployed.dcops("toggle", "kill", "--env", "dev")
    deployed.change("mended")
    assert deployed.json("deploy", "dev", "--yes")["result"] == "deployed"
    assert refused(deployed, deployed.client.create_session(synthetic=True)) == "DC-TURNS-OFF"
    deployed.dcops("toggle", "set", "take_turns", "true", "--env", "dev")
    assert refused(deployed, deployed.client.create_session(synthetic=True)) == ""
