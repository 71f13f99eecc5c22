from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from dcops.engines.fake import FakeEngine
from dcops.errors import OperationFailed

if TYPE_CHECKING:
    from .conftest import Rig

pytestmark = pytest.mark.parametrize("rig", ["fake"], indirect=True)


def test_it_remembers_what_was_called(rig: Rig) -> None:
    engine = FakeEngine()
    rig.start(engine, rig.spec("one"))
    engine.keep("one", always=True)
    engine.stop("one")
    assert [call[0] for call in engine.calls] == ["prepare", "build", "start", "keep", "stop"]
    assert engine.calls[-2:] == [("keep", "one", True), ("stop", "one")]
    assert engine.specs["one"] == rig.spec("one")


def test_it_fails_when_told_and_only_then(rig: Rig) -> None:
    engine = FakeEngine()
    engine.fail("start", OperationFailed("DC-TEST", "told to", cause="start"), skip=1)
    engine.start(rig.spec("one"))
    with pytest.raises(OperationFailed):
        engine.start(rig.spec("two"))
    engine.start(rig.spec("two"))
    assert [each.id for each in engine.instances()] == ["one", "two"]


def test_it_waits_when_told(rig: Rig) -> None:
    engine, reached, go_on = FakeEngine(), threading.Event(), threading.Event()

    def wait() -> None:
        reached.set()
        assert go_on.wait(10)

    engine.before("start", wait)
    starting = threading.Thread(target=engine.start, args=(rig.spec("one"),))
    starting.start()
    assert reached.wait(10)
    assert engine.instances() == []
    go_on.set()
    starting.join(10)
    assert len(engine.instances()) == 1


def test_states_can_be_changed(rig: Rig) -> None:
    engine = FakeEngine()
    engine.start(rig.spec("one"))
    engine.become("one", status="failed", exit_code=1)
    assert (engine.instances()[0].status, engine.instances()[0].exit_code) == ("failed", 1)
    engine.lines["one"] += ["a", "b"]
    assert list(engine.logs("one", lines=1)) == ["b"]
