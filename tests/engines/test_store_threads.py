"""The store of a running environment, used by two threads: the operation and the heartbeat of its lease."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from dcops.engines.docker import DockerEngine
from dcops.engines.docker_daemon import Conversation

if TYPE_CHECKING:
    from dcops.engines.docker_daemon import Answer

    from .conftest import Rig


def test_each_thread_gets_its_own_answers(real: Rig) -> None:
    engine = real.engine()
    real.serve(engine, real.spec("one"))
    store, wrong = engine.store(), []

    def talk(name: str) -> None:
        for number in range(30):
            content = f"{name} {number}".encode()
            store.write({f"records/{name}": content})
            if store.read(f"records/{name}") != {f"records/{name}": content}:
                wrong.append(name)

    threads = [threading.Thread(target=talk, args=(name,)) for name in ("a", "b", "c")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert engine.store() is store


@pytest.mark.parametrize(
    "real", [pytest.param("docker", marks=[pytest.mark.docker, pytest.mark.slow])], indirect=True
)
def test_an_answer_that_nobody_waited_for_is_not_taken_for_the_next(
    real: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = real.engine()
    assert isinstance(engine, DockerEngine)
    real.serve(engine, real.spec("one"))
    store = engine.store()
    store.write({"first": b"1", "second": b"2"})
    ask = Conversation.ask

    def interrupted(self: Conversation, line: bytes) -> Answer:
        self._connection.sendall(line)
        monkeypatch.setattr(Conversation, "ask", ask)
        raise KeyboardInterrupt

    monkeypatch.setattr(Conversation, "ask", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.read("first")
    assert store.read("second") == {"second": b"2"}


def test_a_removed_store_is_not_made_anew_by_a_heartbeat(real: Rig) -> None:
    engine = real.engine()
    engine.prepare()
    store, stop = engine.store(), threading.Event()
    store.write({"records/lease.json": b'{"fence": 1}'})
    store.fence("records/lease.json", 1)
    lost: list[str] = []

    def beat() -> None:
        while not stop.is_set() and not lost:
            try:
                store.write({"records/lease.json": b'{"fence": 1}'})
            except Exception as error:
                lost.append(type(error).__name__)

    thread = threading.Thread(target=beat)
    thread.start()
    engine.remove(with_data=True)
    thread.join(60)
    stop.set()
    thread.join()
    assert lost == ["LockLost"]
    assert store.read("records/lease.json") == {"records/lease.json": None}
