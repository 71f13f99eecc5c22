from __future__ import annotations

import os
import socket

import pytest

from dcops.engines import ports
from dcops.errors import PreconditionMissing


def test_a_seed_gets_the_same_port_until_it_is_taken() -> None:
    first = ports.free_port("a seed of this test")
    assert ports.FIRST <= first < ports.LAST
    assert ports.free_port("a seed of this test") == first
    with socket.create_server(("127.0.0.1", first)):
        assert ports.free_port("a seed of this test") != first


@pytest.mark.parametrize("listening_on", ["127.0.0.1", "0.0.0.0"])
def test_a_taken_port_names_its_owner_also_when_the_port_could_be_shared(listening_on: str) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((listening_on, 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PreconditionMissing) as caught:
            ports.require_free("127.0.0.1", port)
        assert caught.value.code == "DC-PORT-TAKEN"
        assert f"pid {os.getpid()} (" in caught.value.why
        assert caught.value.exit_code == 6
    ports.require_free("127.0.0.1", port)


def test_connections_that_linger_do_not_take_a_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()
            assert client.recv(1) == b""
    ports.require_free("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_refused() -> None:
    with pytest.raises(PreconditionMissing) as caught:
        ports.require_free("192.0.2.1", 8080)
    assert caught.value.code == "DC-PORT-REFUSED"


def test_listens_asks_loopback_for_all_interfaces() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert ports.listens("0.0.0.0", port)
    assert not ports.listens("127.0.0.1", port)


def test_nobody_owns_a_port_that_nothing_listens_on() -> None:
    assert ports.owner(ports.free_port("nobody's")) == ""
