"""A daemon that comes back brings proxy and serving instance with it; tried on a daemon of the test's own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops import proxy
from dcops.core.environment import Environment, Project
from dcops.core.protocols import BuildContext, InstanceSpec, ProxySpec
from dcops.engines.docker import DockerEngine
from dcops.engines.docker_daemon import Daemon
from dcops.engines.ports import free_port
from dcops.errors import DcopsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.docker, pytest.mark.slow]

BASE = "dcops-base:bookworm"
BACK_SECONDS = 10


def until(seen: Callable[[], Any], seconds: float) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := seen()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)
    return found


LOOPBACK_UP = """
import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 65))
"""
ASK = "import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=2).read().decode())"


@dataclass
class Dockerd:
    """A second daemon beside the machine's own, with directories and a network of its own."""

    root: Path
    network: subprocess.Popen[bytes]
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        return f"unix://{self.root}/docker.sock"

    def inside(self, *command: str) -> list[str]:
        """The command in the daemon's network, where its firewall and ports are."""
        return ["nsenter", "--target", str(self.network.pid), "--net", *command]

    def ask(self, url: str) -> Any:
        done = subprocess.run(self.inside(sys.executable, "-c", ASK, url), capture_output=True, check=False)
        return json.loads(done.stdout) if done.returncode == 0 else {}

    def start(self) -> None:
        command = ["dockerd", "--host", self.host, "--data-root", f"{self.root}/data"]
        command += ["--exec-root", f"{self.root}/exec", "--pidfile", f"{self.root}/pid"]
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.inside(*command), stdout=log, stderr=log, start_new_session=True
            )
        until(self.answers, 30)

    def answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.root / "log").read_text()[-2000:]
        try:
            return bool(Daemon().version())
        except DcopsError:
            return False

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait(60)

    def lose_power(self) -> None:
        """Kill the daemon, its helpers and all containers at once, and lose what lies in memory."""
        assert self.process is not None
        containers = [each["State"]["Pid"] for each in Daemon().containers({"dcops.format": ""})]
        for pid in [self.process.pid, *self.helpers(), *filter(None, containers)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)
        self.forget(self.root / "exec")
        (self.root / "pid").unlink()

    def helpers(self) -> list[int]:
        """containerd and its shims; they name our directory in their arguments."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if words[0].rpartition(b"/")[2].startswith(b"containerd") and str(self.root) in str(words):
                    found.append(int(path.parent.name))
        return found

    def forget(self, directory: Path) -> None:
        mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for mount in reversed([each for each in mounts if each.startswith(f"{directory}/")]):
            subprocess.run(["umount", "--lazy", mount], check=True)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def dockerd(docker_daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dockerd]:
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("a second dockerd needs root and the dockerd command")
    assert docker_daemon.image(BASE)
    # Short: a socket's path holds 107 bytes.
    root = Path(tempfile.mkdtemp(prefix="dcops-"))
    image = root / "base.tar"
    subprocess.run(["docker", "save", "--output", str(image), BASE], check=True, timeout=120)
    daemon = Dockerd(root, subprocess.Popen(["unshare", "--net", "sleep", "infinity"]))
    monkeypatch.setenv("DOCKER_HOST", daemon.host)
    try:
        own = Path("/proc/self/ns/net").readlink()
        until(lambda: Path(f"/proc/{daemon.network.pid}/ns/net").readlink() != own, 5)
        subprocess.run(daemon.inside(sys.executable, "-c", LOOPBACK_UP), check=True)
        daemon.start()
        subprocess.run(["docker", "load", "--quiet", "--input", str(image)], check=True, timeout=120)
        yield daemon
    finally:
        daemon.stop()
        daemon.network.kill()
        daemon.network.wait()
        daemon.forget(root)


def build(root: Path) -> BuildContext:
    tree, dependencies = root / "tree", root / "dependencies"
    shutil.copytree(Path(__file__).with_name("tiny"), tree)
    dependencies.mkdir()
    return BuildContext("a" * 64, "b" * 64, "tiny", tree, ("python", "-m", "tiny"), dependencies, "none")


def spec(name: str, context: BuildContext, **changes: Any) -> InstanceSpec:
    return InstanceSpec(
        id=name,
        build=context.build,
        release=context.release,
        command=context.command,
        variables={"DCOPS_INSTANCE": name},
        control={},
        **{"role": "serving", "shared_state": True, "stop_seconds": 2, **changes},
    )


def test_all_that_served_comes_back_with_the_daemon(dockerd: Dockerd, tmp_path: Path) -> None:
    engine = DockerEngine(Project(tmp_path, "back", "ba5eba11"), Environment("dev", "docker", tmp_path))
    port, context = free_port("back"), build(tmp_path)
    engine.prepare()
    engine.build(context, lambda _: None)
    text = proxy.configuration(engine.layout(port), api_url="https://api.invalid")
    engine.start_proxy(ProxySpec(text.decode(), "127.0.0.1", port))
    variables = {"DCOPS_INSTANCE": "one", "ANTHROPIC_API_KEY": "a1" * 32}
    engine.start(replace(spec("one", context), variables=variables, egress=("example.com",)))
    engine.start(spec("gone", context, role="candidate", shared_state=False))
    engine.store().write({"current": b"one:8000"})

    def answers() -> bool:
        return bool(dockerd.ask(f"http://127.0.0.1:{port}/v1/instance").get("instance") == "one")

    until(answers, 20)
    for end in (dockerd.stop, dockerd.lose_power):
        end()
        dockerd.start()
        until(answers, BACK_SECONDS)
        assert engine.store().read("current") == {"current": b"one:8000"}
        states = {each.id: each.status for each in engine.instances()}
        assert states == {"one": "running", "gone": "exited"}
        way_out = Daemon().container("dcops-back-ba5eba11-dev-egress")
        assert way_out is not None
        assert way_out["State"]["Status"] == "running"
        assert "dcops-back-ba5eba11-dev-i-one" in way_out["NetworkSettings"]["Networks"]
    engine.remove(with_data=True)
