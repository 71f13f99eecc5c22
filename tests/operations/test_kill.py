"""The switch of an emergency: at once, and nothing else is lost by it."""

from __future__ import annotations

import json
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from dcops.errors import NotAcknowledged, OperationFailed, PreconditionMissing, UsageError
from dcops.operations import delivery
from dcops.operations.deploy import DeployRequest, deploy
from dcops.operations.kill import kill
from dcops.operations.resume import abort
from dcops.operations.status import status
from dcops.operations.toggles import set_toggle

from .conftest import agree, break_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Site

pytestmark = pytest.mark.slow


def document(site: Site) -> dict[str, Any]:
    """What the serving instance reads."""
    path = f"instances/{site.look().serving}/toggles.json"
    return dict(json.loads(site.world.open("dev").store.read(path)[path] or b""))


def said(site: Site) -> list[str]:
    return [event.text for event in site.events if event.state == "note"]


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for does not come"
        time.sleep(0.01)


def test_the_master_switch_is_thrown_recorded_and_told(site: Site) -> None:
    site.deploy()
    before = site.look().toggles.generation
    report = kill(site.world, "dev", reason="it runs away")
    assert report.changed == {"answers": [None, False]}
    assert report.generation == before + 1
    assert [each.instance for each in report.acknowledged] == [site.look().serving]
    assert document(site)["values"]["answers"] is False
    assert site.look().entries[-1].reason == "it runs away"
    assert "answers: false" in (site.root / "environments/dev/toggles.yaml").read_text()
    [found] = [each for each in status(site.world, "dev")[0].problems if each.code == "DC-TURNS-OFF"]
    assert "answers is off" in found.what
    assert status(site.world, "dev")[0].state == "running"
    assert kill(site.world, "dev").changed == {}
    set_toggle(site.world, "dev", "answers", "true")
    assert status(site.world, "dev")[0].problems == ()


def test_what_needs_the_toggle_goes_off_with_it(site: Site) -> None:
    site.deploy(sets={"bows": "true"})
    with pytest.raises(UsageError, match="bows needs polite, which is off"):
        set_toggle(site.world, "dev", "polite", "false")
    assert kill(site.world, "dev", "polite").changed == {"bows": [True, False], "polite": [True, False]}


@pytest.mark.parametrize(("name", "code"), [("speed", "DC-TOGGLE-TYPE"), ("answer", "DC-TOGGLE-UNKNOWN")])
def test_only_a_switch_can_be_thrown(site: Site, name: str, code: str) -> None:
    site.deploy()
    with pytest.raises(UsageError) as caught:
        kill(site.world, "dev", name)
    assert caught.value.code == code


def test_a_schema_without_a_master_switch_wants_a_name(site: Site) -> None:
    schema = site.root / "little/toggles.schema.json"
    schema.write_text(schema.read_text().replace(', "x-master": true', ""))
    with pytest.raises(UsageError) as caught:
        kill(site.world, "dev")
    assert caught.value.code == "DC-TOGGLE-NO-MASTER"
    assert kill(site.world, "dev", "polite").changed == {"polite": [True, False]}  # the file, nothing serves


def test_who_does_not_follow_is_named(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.deploy()
    monkeypatch.setattr(delivery, "await_generation", lambda *_a, **_k: False)
    with pytest.raises(NotAcknowledged) as caught:
        kill(site.world, "dev")
    assert caught.value.exit_code == 9
    assert site.look().toggles.values["answers"] is False


def test_while_another_operation_works_what_serves_is_held_off(site: Site) -> None:
    site.deploy()
    generation = site.look().toggles.generation
    thread = threading.Thread(target=kill, args=(site.world, "dev"))
    with site.world.open("dev").lock.acquire("deploy"):
        thread.start()
        until(lambda: document(site)["values"]["answers"] is False)
        assert document(site)["generation"] == generation, "no generation is made up"
        assert site.look().toggles.values == {"polite": True}, "nor is the record changed"
        until(lambda: any("answers is held off at what serves" in text for text in said(site)))
    thread.join(20)
    assert any(text.startswith("another operation works on dev") for text in said(site))
    assert site.look().toggles.values == {"polite": True, "answers": False}
    assert document(site)["generation"] == site.look().toggles.generation == generation + 1


@pytest.mark.parametrize("step", ["switch", "record"])
def test_a_deploy_that_is_at_work_does_not_turn_it_on_again(
    site: Site, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    site.deploy()
    site.edit("X = 1")
    threads = []

    def throw() -> None:
        if threads:  # this is the step of the kill itself
            return
        threads.append(threading.Thread(target=kill, args=(site.world, "dev")))
        threads[0].start()
        until(lambda: document(site)["values"]["answers"] is False)

    break_step(monkeypatch, step, throw, after=False)
    with suppress(OperationFailed):  # its smoke may find other toggles than its own
        deploy(site.world, DeployRequest("dev"), agree)
    threads[0].join(20)
    assert document(site)["values"]["answers"] is False
    assert site.look().toggles.values == {"polite": True, "answers": False}


def test_after_a_crash_it_is_off_and_says_what_is_left_to_do(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    site.edit("X = 1")
    site.crash(monkeypatch, "switch", after=False)
    with pytest.raises(PreconditionMissing, match="was interrupted") as caught:
        kill(site.world, "dev")
    assert "answers is off at the serving instance, but not recorded" in caught.value.why
    assert document(site)["values"]["answers"] is False
    abort(site.world, "dev")
    assert kill(site.world, "dev").changed == {"answers": [None, False]}
