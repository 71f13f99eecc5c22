from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops import proxy
from dcops.core.environment import Project
from dcops.core.protocols import BuildContext, InstanceSpec, ProxySpec
from dcops.engines.docker_images import Recipe
from dcops.engines.docker_objects import INSTANCE_USER, PROXY_USER, helper_config
from dcops.engines.ports import free_port
from dcops.errors import NotFound, OperationFailed, PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dcops.engines.docker import DockerEngine
    from dcops.engines.docker_daemon import Daemon

pytestmark = [pytest.mark.docker, pytest.mark.slow]

KEY = b"sk-ant-a-key-that-must-not-leak"
TOKEN = "ab" * 32
DIGEST = hashlib.sha256(b"tiny").hexdigest()


def until(seen: Callable[[], Any], seconds: float = 15) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return found


def context(directory: Path, text: str = "") -> BuildContext:
    """A copy of the tiny implementation; with ``text`` in a file of its own it is another build."""
    tree, dependencies = directory / "tree", directory / "dependencies"
    tree.mkdir()
    dependencies.mkdir()
    tiny = Path(__file__).with_name("tiny") / "__main__.py"
    (tree / "__main__.py").write_bytes(tiny.read_bytes())
    (tree / "extra.py").write_text(text)
    (dependencies / "depended.py").write_text("here = True\n")
    build = hashlib.sha256(text.encode()).hexdigest()
    return BuildContext(build, DIGEST, "tiny", tree, ("python", "-m", "tiny"), dependencies, DIGEST)


def spec(name: str, build: str, **changes: Any) -> InstanceSpec:
    plain = InstanceSpec(
        id=name,
        role="serving",
        build=build,
        release=DIGEST,
        command=("python", "-m", "tiny"),
        variables={"DCOPS_INSTANCE": name, "ANTHROPIC_API_KEY": TOKEN},
        control={"role.json": json.dumps({"role": name}).encode()},
        shared_state=True,
        stop_seconds=5,
    )
    return replace(plain, **changes)


@dataclass
class World:
    """An environment with its proxy, a serving instance ``one`` and a twin ``two``."""

    engine: DockerEngine
    daemon: Daemon
    port: int
    build: str

    def get(self, path: str) -> tuple[int, Any]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as reply:
                return reply.status, json.load(reply)
        except urllib.error.HTTPError as error:
            return error.code, None
        except OSError:
            return 0, None

    def inside(self, instance: str, *command: str) -> str:
        """What a command in an instance says, on both streams, as a tool's would."""
        answer = self.daemon.execute(self.container(instance), command)
        return (answer.output + answer.errors).decode()

    def container(self, instance: str) -> str:
        found = self.daemon.containers(
            {"dcops.project": self.engine.project.slug, "dcops.instance": instance}
        )
        return str(found[0]["Name"]).lstrip("/")

    def inspect(self, instance: str) -> dict[str, Any]:
        found = self.daemon.container(self.container(instance))
        assert found is not None
        return found


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    """A model's API on this machine that tells the key it got."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.dumps({"key": self.headers["x-api-key"]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("0.0.0.0", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f":{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def world(
    docker_engines: Callable[..., DockerEngine],
    docker_daemon: Daemon,
    tmp_path_factory: pytest.TempPathFactory,
    api: str,
) -> World:
    engine = docker_engines()
    built = context(tmp_path_factory.mktemp("build"))
    engine.build(built, lambda _: None)
    engine.prepare()
    engine.write_secret("api-key", KEY)
    port = free_port(engine.project.slug)
    made = World(engine, docker_daemon, port, built.build)
    # The published network's gateway address is this machine.
    first = proxy.configuration(engine.layout(port), api_url="http://127.0.0.1:1")
    engine.start_proxy(ProxySpec(first.decode(), "127.0.0.1", port))
    found = docker_daemon.container(f"dcops-{engine.project.slug}-dev-proxy")
    assert found is not None
    host = next(iter(found["NetworkSettings"]["Networks"].values()))["Gateway"]
    text = proxy.configuration(engine.layout(port), api_url=f"http://{host}{api}")
    engine.start_proxy(ProxySpec(text.decode(), "127.0.0.1", port))
    engine.start(spec("one", built.build))
    engine.start(spec("two", built.build, role="twin", shared_state=False))
    engine.store().write({"current": engine.address("one").encode(), f"gateway/api/{TOKEN}": b""})
    until(lambda: made.get("/healthz")[0] == 200)
    return made


def test_an_instance_holds_as_few_rights_as_it_can(world: World) -> None:
    found = world.inspect("one")
    host = found["HostConfig"]
    assert found["Config"]["User"] == f"{INSTANCE_USER}:{INSTANCE_USER}"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert not host["CapAdd"]
    assert "no-new-privileges" in host["SecurityOpt"]
    assert host["Init"] is True
    assert host["Memory"] == host["MemorySwap"] == 1 << 30
    assert (host["NanoCpus"], host["PidsLimit"]) == (1_000_000_000, 512)
    assert host["LogConfig"]["Config"] == {"max-size": "10m", "max-file": "3"}
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert not host["Binds"]
    assert found["Config"]["StopTimeout"] == 5
    assert {m["Destination"]: m["RW"] for m in found["Mounts"]} == {
        "/instances": False,
        "/state": True,
        "/workspace": True,
    }
    status = world.inside("one", "cat", "/proc/self/status")
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status


def test_the_proxy_holds_as_few_rights_as_it_can(world: World) -> None:
    found = world.daemon.container(f"dcops-{world.engine.project.slug}-dev-proxy")
    assert found is not None
    assert found["Config"]["User"] == f"{PROXY_USER}:{PROXY_USER}"
    assert found["HostConfig"]["ReadonlyRootfs"] is True
    assert found["HostConfig"]["CapDrop"] == ["ALL"]
    assert {m["Destination"]: m["RW"] for m in found["Mounts"]} == {
        "/control": True,
        "/instances": True,
        "/secrets": False,
    }
    bound = found["HostConfig"]["PortBindings"]
    assert bound == {"8100/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(world.port)}]}


def test_the_build_is_compiled_and_ahead_of_nothing_that_tools_write(world: World) -> None:
    code = "import tiny.extra, depended; print(tiny.extra.__cached__, depended.__cached__)"
    cached = world.inside("one", "python3", "-c", code).split()
    assert all(world.inside("one", "ls", path).strip() == path for path in cached)
    _, seen = world.get("/environ")
    assert "/workspace" not in seen["path"]
    assert seen["environ"]["DCOPS_CONTROL_DIR"] == "/instances/one"


def test_the_key_goes_to_the_model_and_nowhere_else(world: World) -> None:
    asked = {"method": "POST", "path": "/v1/messages", "body": "{}"}
    code = (
        "import sys; sys.path.insert(0, '/opt/build'); from tiny.__main__ import model; "
        f"print(model({json.dumps(json.dumps(asked))}.encode()))"
    )
    assert KEY.decode() in world.inside("one", "python3", "-c", code)
    assert "401" in world.inside("one", "env", f"ANTHROPIC_API_KEY={'00' * 32}", "python3", "-c", code)
    labels = {"dcops.project": world.engine.project.slug}
    shown = json.dumps(world.daemon.containers(labels)) + json.dumps(world.daemon.images(labels))
    shown += "".join(world.engine.logs("one", lines=100)) + world.inside("one", "env")
    assert KEY.decode() not in shown
    search = ["grep", "-rsl", KEY.decode(), "/control", "/instances", "/secrets"]
    found = world.daemon.execute(f"dcops-{world.engine.project.slug}-dev-proxy", search)
    assert found.output.split() == [b"/secrets/api-key"]
    assert KEY.decode() not in world.inside(
        "one", "grep", "-rs", KEY.decode(), "/instances", "/state", "/tmp"
    )


def test_the_key_lies_alone_and_closed(world: World) -> None:
    found = world.daemon.execute(
        f"dcops-{world.engine.project.slug}-dev-proxy",
        ["stat", "-c", "%a %u %n", "/secrets", "/secrets/api-key"],
    )
    assert found.output.decode().splitlines() == [
        f"700 {PROXY_USER} /secrets",
        f"600 {PROXY_USER} /secrets/api-key",
    ]


REACH = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def reach(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
        return f"{target} reached"
    except OSError as error:
        return f"{target} closed"
with ThreadPoolExecutor() as pool:
    print(*pool.map(reach, sys.argv[1:]), sep="\\n")
"""


def test_an_instance_reaches_its_gateway_and_nothing_else(world: World, api: str) -> None:
    networks = world.inspect("two")["NetworkSettings"]["Networks"]
    neighbour = next(iter(networks.values()))["IPAddress"]
    found = world.daemon.container(f"dcops-{world.engine.project.slug}-dev-proxy")
    assert found is not None
    public = found["NetworkSettings"]["Networks"][f"dcops-{world.engine.project.slug}-dev-public"]
    mine = next(iter(world.inspect("one")["NetworkSettings"]["Networks"].values()))
    bridge = f"{mine['IPAddress'].rpartition('.')[0]}.1"
    targets = [
        f"{neighbour}:8000",
        "two:8000",
        "gateway:8100",
        f"{public['IPAddress']}:8100",
        f"{public['Gateway']}{api}",
        f"{bridge}{api}",
        f"{_outer_address()}{api}",
        "1.1.1.1:53",
    ]
    said = world.inside("one", "python3", "-c", REACH, "gateway:8080", *targets).splitlines()
    assert said[0] == "gateway:8080 reached"
    assert said[1:] == [f"{target} closed" for target in targets]


def _outer_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        with contextlib.suppress(OSError):
            probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


def test_an_instance_finds_no_names_outside(world: World) -> None:
    code = "import socket\nfor n in ('gateway', 'example.com'):\n try: print(socket.gethostbyname(n))\n"
    said = world.inside("one", "python3", "-c", code + " except OSError as error: print('unknown')").split()
    assert said[0].count(".") == 3
    assert said[1] == "unknown"
    assert world.inspect("one")["HostConfig"]["Dns"] == ["127.0.0.1"]
    assert world.inside("one", "cat", "/proc/sys/net/ipv6/conf/eth0/disable_ipv6").strip() == "1"


def test_removing_all_that_a_tool_can_write_hurts_nobody_else(world: World) -> None:
    store = world.engine.store()
    before = store.read("current", "instances/one/role.json", "instances/two/role.json")
    world.inside("two", "sh", "-c", "rm -rf /* /.[a-z]* 2>/dev/null; true")
    assert store.read(*before) == before
    assert world.engine.proxy().running
    assert world.get("/v1/instance")[1]["role"] == "one"
    assert "tiny" in world.inside("two", "ls", "/opt/build")


def test_a_build_that_does_not_compile_says_where(world: World, tmp_path: Path) -> None:
    broken = context(tmp_path, "def nothing(:\n")
    with pytest.raises(OperationFailed) as caught:
        world.engine.build(broken, lambda _: None)
    assert caught.value.cause == "build"
    assert "extra.py" in caught.value.why
    assert "SyntaxError" in caught.value.why
    assert "Step" not in caught.value.why
    assert not world.engine.has_build(broken.build)
    assert world.daemon.images({"dcops.build": broken.build}) == []


def test_dependencies_are_packed_once_and_go_with_the_last_build(
    docker_engines: Callable[..., DockerEngine], docker_daemon: Daemon, tmp_path: Path, tmp_path_factory: Any
) -> None:
    engine = docker_engines(project=Project(tmp_path, "dcops-test", "0ddba11f"))
    said: list[str] = []
    builds = [context(tmp_path_factory.mktemp("b"), f"x = {n}\n") for n in range(2)]
    for each in builds:
        engine.build(each, said.append)
    assert sum("dependencies" in line for line in said) == 1
    assert engine.builds() == sorted(each.build for each in builds)
    engine.remove_build(builds[0].build)
    engine.remove_build(builds[0].build)
    assert engine.builds() == [builds[1].build]
    assert len(docker_daemon.images({"dcops.project": "dcops-test-0ddba11f"})) == 2
    engine.remove_build(builds[1].build)
    assert docker_daemon.images({"dcops.project": "dcops-test-0ddba11f"}) == []


def test_nothing_is_left_of_builds_that_were_removed_but_what_others_have_named(
    docker_engines: Callable[..., DockerEngine], docker_daemon: Daemon, tmp_path: Path, tmp_path_factory: Any
) -> None:
    def images() -> set[str]:
        return set(docker_daemon._call("images", all=True, quiet=True, filters={"label": label}))

    engine = docker_engines(project=Project(tmp_path, "dcops-test", "0ddba11e"))
    label = "dcops.project=dcops-test-0ddba11e"
    builds = [context(tmp_path_factory.mktemp("b"), text) for text in ("x = 1\n", "x = 2\n", "def x(:\n")]
    for each in builds[:2]:
        engine.build(each, lambda _: None)
    with pytest.raises(OperationFailed):
        engine.build(builds[2], lambda _: None)
    named = engine._names.build(builds[0].build)
    docker_daemon._call("tag", named, "dcops-test-0ddba11e-other", "kept")
    for each in builds[:2]:
        engine.remove_build(each.build)
    assert engine.builds() == []
    assert not engine.has_build(builds[0].build)
    docker_daemon.remove_image("dcops-test-0ddba11e-other:kept")
    engine.remove_build(builds[0].build)
    assert images() == set()


def test_a_release_is_exported_from_where_an_own_dockerfile_has_put_it(
    world: World, docker_daemon: Daemon, tmp_path: Path
) -> None:
    own = context(tmp_path, "y = 2\n")
    text = "FROM dcops-base:bookworm\nCOPY tree /srv/lib/tiny\nENV PYTHONPATH=/opt/none:/srv/lib\n"
    labels = " ".join(f'{name}="{value}"' for name, value in world.engine._names.project_labels.items())
    with Recipe(f"{text}LABEL {labels}\n", {"tree": own.tree}).context() as stream:
        docker_daemon.build(stream, world.engine._names.build("a" * 64))
    world.engine.export("a" * 64, "tiny", tmp_path / "out")
    assert (tmp_path / "out" / "extra.py").read_text() == "y = 2\n"
    with pytest.raises(PreconditionMissing, match="does not hold") as caught:
        world.engine.export("a" * 64, "another", tmp_path / "nothing")
    assert "/srv/lib/another" in caught.value.why
    docker_daemon.remove_image(world.engine._names.build("a" * 64))


def test_the_sweep_removes_what_killed_commands_have_left(
    world: World, docker_daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, names = world.engine, world.engine._names
    for name, command in (("ended", ["true"]), ("made", ["true"]), ("runs", ["sleep", "60"])):
        config = helper_config(names, names.build(world.build), command, [])
        docker_daemon.create(f"{names.prefix}-helper-{name}", config)
    docker_daemon.start(f"{names.prefix}-helper-ended")
    docker_daemon.start(f"{names.prefix}-helper-runs")

    def left() -> set[str]:
        found = docker_daemon.containers({**names.labels, "dcops.role": "helper"})
        return {each["Name"].rpartition("-")[2] for each in found}

    until(lambda: docker_daemon.container(f"{names.prefix}-helper-ended")["State"]["Status"] == "exited")
    engine.sweep()
    assert left() == {"made", "runs"}
    monkeypatch.setattr("dcops.engines.docker.ABANDONED_SECONDS", 0)
    engine.sweep()
    assert left() == {"runs"}
    docker_daemon.remove(f"{names.prefix}-helper-runs")


def test_a_build_that_runs_cannot_be_removed(world: World) -> None:
    world.engine.remove_build(world.build)
    assert world.engine.has_build(world.build)


def test_an_own_dockerfile_needs_buildkit(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(context(tmp_path, "y = 1\n"), dockerfile=tmp_path / "Dockerfile")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(PreconditionMissing) as caught:
        world.engine.build(own, lambda _: None)
    assert caught.value.code == "DC-BUILDKIT-MISSING"


def test_an_own_dockerfile_is_built_and_runs_with_the_same_rights(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    text = "FROM dcops-base:bookworm\nRUN --mount=type=tmpfs,target=/x true\n"
    own = replace(context(tmp_path, "z = 1\n"), dockerfile=tmp_path / "tree" / "Dockerfile")
    assert own.dockerfile is not None
    own.dockerfile.write_text(f'{text}COPY . /srv/tiny\nENV PYTHONPATH=/srv\nENTRYPOINT ["false"]\n')
    try:
        world.engine.build(own, lambda _: None)
    except PreconditionMissing as error:
        pytest.skip(error.why)
    world.engine.start(spec("own", own.build, role="twin", shared_state=False))
    until(lambda: list(world.engine.logs("own", lines=1)) == ["own listens"])
    assert world.inside("own", "id", "-u").strip() == str(INSTANCE_USER)
    world.engine.stop("own")
    own.dockerfile.write_text(f"{text}RUN echo flour is missing; exit 3\n")
    with pytest.raises(OperationFailed) as caught:
        world.engine.build(replace(own, build="c" * 64), lambda _: None)
    assert caught.value.cause == "build"
    assert "flour is missing" in caught.value.why


def test_a_taken_port_names_its_owner_and_the_proxy_stays(
    world: World, docker_engines: Callable[..., DockerEngine]
) -> None:
    text = proxy.configuration(world.engine.layout(0), api_url="http://127.0.0.1:1")
    other = docker_engines("other")
    with pytest.raises(PreconditionMissing) as caught:
        other.start_proxy(ProxySpec(text.decode(), "127.0.0.1", world.port))
    assert caught.value.code == "DC-PORT-TAKEN"
    assert "-dev-proxy" in caught.value.detail["owner"]
    with socket.create_server(("127.0.0.1", 0)) as held:
        with pytest.raises(PreconditionMissing) as caught:
            world.engine.start_proxy(ProxySpec(text.decode(), "127.0.0.1", held.getsockname()[1]))
        assert f"pid {_pid()}" in caught.value.detail["owner"]
    assert world.engine.proxy().port == world.port
    until(lambda: world.get("/healthz")[0] == 200)


def _pid() -> str:
    return Path("/proc/self").resolve().name


def test_the_store_costs_little_and_works_without_the_proxy(world: World) -> None:
    store = world.engine.store()
    times = []
    for number in range(5):
        began = time.monotonic()
        store.write({f"records/{number}": b"x"})
        times.append(time.monotonic() - began)
    assert min(times) < 0.3
    world.daemon.stop(f"dcops-{world.engine.project.slug}-dev-proxy")
    store.append("records/journal", b"written beside the volumes")
    assert world.engine.proxy().running is False
    world.daemon.start(f"dcops-{world.engine.project.slug}-dev-proxy")
    assert store.read("records/journal", "records/4")["records/journal"] == b"written beside the volumes\n"
    until(lambda: world.get("/healthz")[0] == 200)


def test_a_store_that_was_never_prepared_is_empty(
    docker_engines: Callable[..., DockerEngine], docker_daemon: Daemon
) -> None:
    engine = docker_engines("empty")
    assert engine.store().read("current") == {"current": None}
    assert engine.store().list("records") == {"records": []}
    engine.stop("nobody")
    engine.write_secret("api-key", None)
    assert engine.instances() == []
    assert not engine.proxy().running
    assert docker_daemon.volume(f"dcops-{engine.project.slug}-empty-control") is None


def test_a_crash_of_a_serving_instance_is_mended_and_an_end_in_peace_is_not(world: World) -> None:
    world.engine.kill("one")
    until(lambda: [each for each in world.engine.instances() if each.id == "one" and each.restarts == 1])
    until(lambda: world.get("/healthz")[0] == 200)
    world.engine.start(spec("leaving", world.build, role="candidate"))
    world.engine.keep("leaving", always=True)
    world.engine.keep("leaving", always=False)
    until(lambda: list(world.engine.logs("leaving", lines=1)) == ["leaving listens"])
    world.inside("leaving", "sh", "-c", "kill -TERM -1")
    (state,) = until(
        lambda: [e for e in world.engine.instances() if (e.id, e.status) == ("leaving", "exited")]
    )
    assert state.exit_code == 0
    world.engine.stop("leaving")


def test_a_candidate_that_ends_is_not_started_again(world: World) -> None:
    command = ("python", "-c", "import sys; sys.exit('no module named flour')")
    world.engine.start(spec("bad", world.build, role="candidate", command=command))
    (state,) = until(lambda: [e for e in world.engine.instances() if (e.id, e.status) == ("bad", "exited")])
    assert (state.exit_code, state.restarts) == (1, 0)
    assert list(world.engine.logs("bad", lines=1)) == ["no module named flour"]
    world.engine.stop("bad")


def test_what_is_stopped_and_kept_is_started_by_nobody_until_it_is_told_to(world: World) -> None:
    world.engine.start(spec("kept", world.build, role="candidate"))
    world.engine.keep("kept", always=True)
    world.engine.stop("kept", remove=False)
    assert world.inspect("kept")["HostConfig"]["RestartPolicy"]["Name"] == "no"
    world.engine.revive(["kept"])
    world.engine.keep("kept", always=False)
    assert world.inspect("kept")["HostConfig"]["RestartPolicy"]["Name"] == "on-failure"
    world.engine.stop("kept")


def test_an_unknown_instance_has_no_logs(world: World) -> None:
    with pytest.raises(NotFound):
        world.engine.logs("nobody", lines=1)


def test_two_clones_do_not_meet(world: World, docker_engines: Callable[..., DockerEngine]) -> None:
    clone = docker_engines(project=Project(Path("/elsewhere"), world.engine.project.name, "feedf00d"))
    clone.prepare()
    clone.store().write({"current": b"other:8000"})
    assert clone.instances() == []
    assert world.engine.store().read("current") == {"current": b"one:8000"}
    clone.remove(with_data=True)
    assert {each.id for each in world.engine.instances()} == {"one", "two"}


def test_halted_all_comes_back_where_it_was(world: World) -> None:
    world.engine.halt()
    assert {each.status for each in world.engine.instances()} == {"exited"}
    assert world.get("/healthz")[0] == 0
    world.engine.stop("two")
    world.engine.stop("two")
    world.engine.revive(["one"])
    until(lambda: world.get("/v1/instance")[1] is not None)
    assert world.get("/v1/instance")[1]["instance"] == "one"


def test_removed_only_the_data_stays(
    docker_engines: Callable[..., DockerEngine], docker_daemon: Daemon
) -> None:
    engine = docker_engines("gone")
    engine.prepare()
    engine.write_secret("api-key", KEY)
    engine.remove(with_data=False)
    prefix = f"dcops-{engine.project.slug}-gone"
    left = [
        k
        for k in ("control", "instances", "secrets", "state", "workspace")
        if docker_daemon.volume(f"{prefix}-{k}")
    ]
    assert left == ["state", "workspace"]
    engine.prepare()
    engine.remove(with_data=True)
    assert docker_daemon.volume(f"{prefix}-state") is None
    assert docker_daemon.containers({"dcops.environment": "gone", "dcops.project": engine.project.slug}) == []
