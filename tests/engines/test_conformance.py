"""What every engine promises; ``rig`` runs over all, ``real`` over those that run programs."""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from dcops.core.ignore import Ignore
from dcops.core.protocols import ProxySpec
from dcops.core.release import release_id
from dcops.engines.ports import free_port
from dcops.errors import NotFound, OperationFailed, PreconditionMissing
from dcops.proxy import configuration
from dcops.releases.tree import scan

if TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Rig

TOKEN, OPERATOR = "b" * 64, "c" * 64


def quiet(_: str) -> None:
    """Nobody listens."""


# Builds


def test_a_build_is_there_after_it_was_made_until_it_is_removed(rig: Rig) -> None:
    engine, context = rig.engine(), rig.context()
    assert not engine.has_build(context.build)
    assert engine.builds() == []
    for _ in range(2):
        engine.build(context, quiet)
        assert engine.has_build(context.build)
        assert engine.builds() == [context.build]
    for _ in range(2):
        engine.remove_build(context.build)
        assert not engine.has_build(context.build)


def test_a_build_that_an_instance_has_stays_until_that_goes(rig: Rig) -> None:
    engine, other, build = rig.engine(), rig.engine("other"), rig.context().build
    rig.start(engine, rig.spec("one"))
    rig.until(lambda: rig.status(engine, "one") == "running")
    for remover in (engine, other) if engine.name != "fake" else (engine,):
        remover.remove_build(build)
        assert remover.builds() == [build]
    engine.stop("one", remove=False)
    engine.remove_build(build)
    assert engine.has_build(build)
    engine.stop("one")
    engine.remove_build(build)
    assert engine.builds() == []


def content_id(tree: Path) -> str:
    return release_id(scan(tree, Ignore(["__pycache__"])))


def test_export_gives_back_exactly_what_was_built(rig: Rig, tmp_path: Path) -> None:
    engine, context = rig.engine(), rig.context()
    (context.tree / "data" / "empty").mkdir(parents=True)
    (context.tree / "data" / "tool ä.sh").write_bytes(b"#!/bin/sh\n")
    (context.tree / "data" / "tool ä.sh").chmod(0o755)
    (context.tree / "data" / "link").symlink_to("./../data/tool ä.sh")
    (context.tree / "data" / ("long" * 40)).write_bytes(b"\0\r\n" * 100_000)
    engine.build(context, quiet)
    engine.export(context.build, context.name, tmp_path / "out")
    assert content_id(tmp_path / "out") == content_id(context.tree)
    assert not list((tmp_path / "out").rglob("__pycache__"))
    assert (tmp_path / "out" / "data" / "link").readlink().name == "tool ä.sh"
    with pytest.raises(PreconditionMissing, match="is not on this engine"):
        engine.export("0" * 64, context.name, tmp_path / "nothing")


def test_a_build_that_does_not_compile_says_where_and_leaves_nothing(real: Rig) -> None:
    engine, context = real.engine(), real.context("def f(:\n    pass\n")
    with pytest.raises(OperationFailed) as caught:
        engine.build(context, quiet)
    assert caught.value.cause == "build"
    assert "change.py" in caught.value.why
    assert "SyntaxError" in caught.value.why
    assert not engine.has_build(context.build)
    assert engine.builds() == []


def test_the_platform_is_stable_and_complete(rig: Rig) -> None:
    platform = rig.engine().platform()
    assert platform == rig.engine("other").platform()
    assert platform.python.startswith("3.")
    assert all((platform.machine, platform.system, platform.base))


# Instances


def test_an_instance_runs_until_it_is_stopped(rig: Rig) -> None:
    engine = rig.engine()
    assert engine.instances() == []
    spec = rig.spec("one", "candidate")
    rig.start(engine, spec)
    rig.until(lambda: rig.status(engine, "one") == "running")
    state = engine.instances()[0]
    assert (state.id, state.role, state.release, state.build) == (
        "one",
        "candidate",
        spec.release,
        spec.build,
    )
    assert state.started > 0
    assert state.restarts == 0
    assert engine.store().list("instances/one") == {"instances/one": ["role.json", "toggles.json"]}
    for _ in range(2):
        engine.stop("one")
        assert engine.instances() == []
        assert engine.store().list("instances") == {"instances": []}


def test_a_stopped_instance_that_is_not_removed_starts_again(rig: Rig) -> None:
    engine = rig.engine()
    rig.start(engine, rig.spec("one"))
    engine.stop("one", remove=False)
    assert rig.status(engine, "one") == "exited"
    engine.start(rig.spec("one"))
    rig.until(lambda: rig.status(engine, "one") == "running")


def test_an_instance_gets_what_the_contract_says_and_nothing_of_the_operator(
    real: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-operator")
    monkeypatch.setenv("OPERATORS_OWN", "yes")
    engine = real.engine()
    odd = "a 'b' \"c\" %d ;e #f\n{g} $HOME"
    site = real.serve(engine, real.spec("one", ODD=odd, ANTHROPIC_API_KEY=TOKEN))
    environ = site.get("/environ")["environ"]
    assert environ["ODD"] == odd
    assert environ["ANTHROPIC_API_KEY"] == TOKEN
    assert environ["DCOPS_INSTANCE"] == "one"
    assert "OPERATORS_OWN" not in environ
    assert not [name for name in environ if name.startswith("SUPERVISOR")]
    given = ["DCOPS_LISTEN", "DCOPS_CONTROL_DIR", "DCOPS_STATE_DIR", "DCOPS_WORKSPACE", "ANTHROPIC_BASE_URL"]
    for name in given:
        assert environ[name]
    seen = site.get("/v1/instance")
    assert (seen["role"], seen["toggles"]) == ("serving", {"generation": 1})


def test_instances_can_be_started_and_stopped_side_by_side(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("serves"))
    specs = [real.spec(f"side-{number}", "candidate") for number in range(3)]
    engine.store().write({f"operator/{spec.id}/{OPERATOR}": b"" for spec in specs})
    with ThreadPoolExecutor() as pool:
        list(pool.map(engine.start, specs))
    for spec in specs:
        site.wait_for(spec.id)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda spec: engine.stop(spec.id), specs))
    assert [each.id for each in engine.instances()] == ["serves"]
    assert site.answers("serves")


def test_starting_what_runs_changes_nothing(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))
    before = site.get("/v1/instance")
    engine.store().write({"instances/one/toggles.json": b'{"generation": 2}'})
    engine.start(real.spec("one"))
    after = site.get("/v1/instance")
    assert after["started"] == before["started"]
    assert after["toggles"] == {"generation": 2}


def test_starting_another_spec_of_that_id_replaces_it(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))
    before = site.get("/v1/instance")["started"]
    engine.start(real.spec("one", CHANGED="yes"))
    real.until(lambda: site.answers("one") and site.get("/v1/instance")["started"] != before)
    assert site.get("/environ")["environ"]["CHANGED"] == "yes"


def test_a_killed_instance_is_restarted(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))
    engine.keep("one", always=True)
    before = site.get("/v1/instance")["started"]
    engine.kill("one")
    real.until(lambda: site.answers("one") and site.get("/v1/instance")["started"] != before)
    assert engine.instances()[0].restarts >= 1


def test_an_instance_that_ends_with_an_error_is_restarted(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))
    before = site.get("/v1/instance")["started"]
    real.until(lambda: real.status(engine, "one") == "running")
    site.post("/exit/75")
    real.until(lambda: site.answers("one") and site.get("/v1/instance")["started"] != before)


def test_a_warm_instance_that_ends_with_0_stays_down(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("serves"), real.spec("warm"))
    engine.keep("warm", always=False)
    real.until(lambda: real.status(engine, "warm") == "running")
    site.post("/exit/0", of="warm")
    real.until(lambda: real.status(engine, "warm") == "exited")
    # A restart of another one shows that the keeper has looked again since.
    before = site.get("/v1/instance")["started"]
    engine.kill("serves")
    real.until(lambda: site.answers("serves") and site.get("/v1/instance")["started"] != before)
    warm = next(each for each in engine.instances() if each.id == "warm")
    assert (warm.status, warm.exit_code, warm.restarts) == ("exited", 0, 0)


def test_a_candidate_that_exits_at_once_has_failed_and_its_log_says_why(real: Rig) -> None:
    engine = real.engine()
    real.start(engine, real.spec("bad", "candidate", TINY_EXIT="no reason"))
    real.until(lambda: real.status(engine, "bad") in ("failed", "exited"))
    real.until(lambda: "tiny was told to exit with no reason" in list(engine.logs("bad", lines=5)))


def test_an_instance_that_ignores_sigterm_is_ended(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("serves"), real.spec("stubborn", TINY_STUBBORN="1"))
    engine.stop("stubborn")
    assert [each.id for each in engine.instances()] == ["serves"]
    assert not site.answers("stubborn")


def test_a_twin_has_a_state_of_its_own_that_goes_with_it(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"), real.spec("two"), real.spec("twin", "twin"))
    site.post("/keep", b"shared")
    assert site.get("/kept", of="two") == {"kept": "shared"}
    assert site.get("/kept", of="twin") == {"kept": None}
    site.post("/keep", b"thrown away", of="twin")
    assert site.get("/kept", of="one") == {"kept": "shared"}
    engine.stop("twin")
    engine.start(real.spec("twin", "twin"))
    site.wait_for("twin")
    assert site.get("/kept", of="twin") == {"kept": None}


# Logs


def test_logs_are_the_last_lines_and_can_be_followed(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))
    for number in range(3):
        site.post("/say", b"line %d" % number)
    real.until(lambda: list(engine.logs("one", lines=1)) == ["line 2"])
    assert list(engine.logs("one", lines=100)) == ["one listens", "line 0", "line 1", "line 2"]
    assert list(engine.logs("one", lines=2)) == ["line 1", "line 2"]
    following = engine.logs("one", lines=2, follow=True)
    assert list(itertools.islice(following, 2)) == ["line 1", "line 2"]
    said = threading.Thread(target=site.post, args=("/say", "line ä".encode()))
    said.start()
    assert next(following) == "line ä"
    said.join()


def test_logs_since_a_moment_also_of_a_stopped_instance(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))

    def say(text: str) -> float:
        moment = time.time()
        site.post("/say", json.dumps({"time": moment, "say": text}).encode())
        real.until(lambda: text in "".join(engine.logs("one", lines=1)))
        return moment

    say("first")
    since = say("second")
    site.post("/say", b"of the second")
    say("third")
    said = list(engine.logs("one", lines=None, since=since))
    assert [json.loads(said[0])["say"], said[1], json.loads(said[2])["say"]] == [
        "second",
        "of the second",
        "third",
    ]
    assert list(engine.logs("one", lines=2, since=since)) == said[1:]
    assert list(itertools.islice(engine.logs("one", lines=None, since=since, follow=True), 3)) == said
    assert list(engine.logs("one", lines=5, since=time.time() + 60)) == []
    engine.stop("one", remove=False)
    assert list(engine.logs("one", lines=None, since=since)) == said


def test_the_access_log_tells_requests_and_failures_since_a_moment(real: Rig) -> None:
    engine = real.engine()
    assert list(engine.access_log(0)) == []
    site = real.serve(engine, real.spec("one"))
    site.get("/early")
    real.until(lambda: "/early" in "".join(engine.access_log(0)))
    since = time.time()
    site.get("/late")
    engine.store().write({"current": engine.address("nobody").encode()})
    assert site.ask("/lost")[0] == 502
    real.until(lambda: "/lost" in "".join(engine.access_log(since)))
    seen = [json.loads(line) for line in engine.access_log(since)]
    asked = [(each["request"]["uri"], each["status"]) for each in seen if "status" in each]
    assert asked[:2] == [("/late", 200), ("/lost", 502)]
    assert [each for each in seen if each["level"] == "error"]
    assert all(each["ts"] >= since for each in seen)
    assert list(engine.access_log(time.time() + 60)) == []


def test_logs_of_an_unknown_instance_are_not_found(rig: Rig) -> None:
    with pytest.raises(NotFound):
        list(rig.engine().logs("nobody", lines=5))


# Store and secrets


def test_the_store_keeps_what_was_written(rig: Rig) -> None:
    engine = rig.engine()
    engine.prepare()
    store = engine.store()
    store.write({"current": b"a", "records/x": b"\x00", "instances/one/role.json": b"{}"})
    assert store.create("records/lock", b"me")
    assert not store.create("records/lock", b"you")
    store.append("records/journal", b"1")
    store.append("records/journal", b"2")
    store.write({"current": b"b", "records/x": None})
    again = rig.engine().store() if engine.name != "fake" else store
    assert again.read("current", "records/x", "records/journal", "records/lock") == {
        "current": b"b",
        "records/x": None,
        "records/journal": b"1\n2\n",
        "records/lock": b"me",
    }
    assert again.list("records", "instances/one") == {
        "records": ["journal", "lock"],
        "instances/one": ["role.json"],
    }


def test_a_secret_is_in_neither_store_nor_instance(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))
    engine.write_secret("api-key", b"sk-ant-secret")
    store = engine.store()
    names = store.list("instances", "records", "operator", "gateway")
    assert "api-key" not in json.dumps(names)
    assert "sk-ant-secret" not in json.dumps(site.get("/environ"))
    engine.write_secret("api-key", None)
    engine.write_secret("api-key", None)


# Proxy


def test_the_pointer_switches_what_serves(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"), real.spec("two", "candidate"))
    assert site.get("/x")["instance"] == "one"
    engine.store().write({"current": engine.address("two").encode()})
    assert site.get("/x")["instance"] == "two"
    assert site.get("/x", of="one")["instance"] == "one"


def test_starting_the_proxy_twice_leaves_it_alone(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))
    before = engine.proxy()
    assert before.running
    assert before.port == site.port
    assert before.version
    content = configuration(engine.layout(site.port), api_url="https://api.invalid", grace_seconds=1)
    connection = socket.create_connection(("127.0.0.1", site.port))
    engine.start_proxy(ProxySpec(content.decode(), "127.0.0.1", site.port))
    connection.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
    assert connection.recv(15) == b"HTTP/1.1 200 OK"
    connection.close()
    assert engine.proxy() == before


def test_another_configuration_takes_effect_on_the_same_port(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))
    before = engine.proxy()
    content = configuration(engine.layout(site.port), api_url="https://other.invalid", grace_seconds=1)
    engine.start_proxy(ProxySpec(content.decode(), "127.0.0.1", site.port))
    site.wait_for("one")
    assert engine.proxy().configuration != before.configuration
    assert engine.proxy().port == before.port


def test_a_port_that_is_taken_is_refused_with_its_owner(real: Rig) -> None:
    engine = real.engine()
    engine.prepare()
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        content = configuration(engine.layout(port), api_url="https://api.invalid")
        with pytest.raises(PreconditionMissing) as caught:
            engine.start_proxy(ProxySpec(content.decode(), "127.0.0.1", port))
    assert caught.value.code == "DC-PORT-TAKEN"
    assert f"pid {os.getpid()}" in caught.value.why
    assert not engine.proxy().running


def test_an_instance_reaches_its_model_through_the_gateway_only_with_its_token(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one", ANTHROPIC_API_KEY=TOKEN), real.spec("model", "model"))
    engine.store().write({"model": engine.address("model").encode()})
    request = json.dumps({"method": "POST", "path": "/v1/messages", "body": "{}"}).encode()
    assert site.post("/model", request)["status"] == 401
    engine.store().write({f"gateway/scripted/{TOKEN}": b""})
    reply = site.post("/model", request)
    assert reply["status"] == 200, reply
    assert json.loads(reply["body"])["instance"] == "model"


# The environment as a whole


def test_two_environments_do_not_know_each_other(real: Rig) -> None:
    engines = [real.engine("dev"), real.engine("production")]
    for number, engine in enumerate(engines):
        real.start(engine, replace(real.spec("one"), variables={"DCOPS_INSTANCE": f"number {number}"}))
        port = free_port(f"{number} {real.root}")
        content = configuration(engine.layout(port), api_url="https://api.invalid", grace_seconds=1)
        engine.start_proxy(ProxySpec(content.decode(), "127.0.0.1", port))
    engines[0].store().write({"current": b"0"})
    assert engines[1].store().read("current") == {"current": None}
    engines[0].remove(with_data=True)
    assert [each.id for each in engines[1].instances()] == ["one"]
    assert engines[1].proxy().running
    assert not engines[0].proxy().running


def test_halt_and_revive_bring_back_what_served(real: Rig) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"), real.spec("two"))
    site.post("/keep", b"kept")
    pointer = engine.store().read("current")
    for _ in range(2):
        engine.halt()
        assert not engine.proxy().running
        assert {each.status for each in engine.instances()} == {"exited"}
    with pytest.raises(OSError, match="refused"):
        site.ask("/x")
    again = real.engine()
    for _ in range(2):
        again.revive(["one"])
        site.wait_for("one")
    assert again.store().read("current") == pointer
    assert site.get("/kept") == {"kept": "kept"}
    assert real.status(again, "two") == "exited"


def test_revive_says_which_instance_is_not_there(rig: Rig) -> None:
    engine = rig.engine()
    rig.start(engine, rig.spec("one"))
    with pytest.raises(NotFound, match="gone"):
        engine.revive(["gone"])


@pytest.mark.parametrize("with_data", [True, False])
def test_remove_leaves_only_what_was_asked_for(real: Rig, with_data: bool) -> None:
    engine = real.engine()
    site = real.serve(engine, real.spec("one"))
    site.post("/keep", b"kept")
    for _ in range(2):
        engine.remove(with_data=with_data)
        assert engine.instances() == []
        assert not engine.proxy().running
    assert not real.engine().proxy().configuration
    assert engine.has_build(real.context().build)
    site = real.serve(engine, real.spec("one"))
    assert site.get("/kept") == {"kept": None if with_data else "kept"}


def test_an_environment_that_was_never_deployed_is_empty(rig: Rig) -> None:
    engine = rig.engine()
    assert engine.instances() == []
    assert not engine.proxy().running
    engine.halt()
    engine.stop("nobody")
    engine.remove(with_data=True)
