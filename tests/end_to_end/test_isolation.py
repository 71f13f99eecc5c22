"""The suite `isolation`: it passes where docs/security.md is true, and finds what is not."""

from __future__ import annotations

import socket
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from dcops.engines import docker as docker_engine
from dcops.engines.docker import DockerEngine
from dcops.operations.verify import VerifyRequest, verify
from dcops.records.instances import InstanceRecord

from .test_key import own_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dcops.core.protocols import InstanceSpec
    from dcops.core.verification import VerificationReport

    from .conftest import Sites
    from .site import Site

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.timeout(600)]
# No properties of an instance: tests/test_proxy.py breaks the first three, another test here the last two.
OF_THE_PROXY = {"gateway_port", "gateway_paths", "gateway_token", "egress", "egress_others"}
PLANTED = "sk-ant-api03-0123456789-0123456789-0123456789"


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    """A host outside that accepts connections."""
    with socket.create_server((own_address(), 0)) as server:
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                server.accept()[0].close()

        thread = threading.Thread(target=accept)
        thread.start()
        address, port = server.getsockname()
        yield f"{address}:{port}"
        over.set()
        socket.create_connection((address, port)).close()
        thread.join()


@pytest.fixture(scope="module")
def site(sites: Sites, docker_daemon: object, host: str) -> Iterator[Site]:
    """One that serves with a warm instance beside it, and has one host to reach."""
    del docker_daemon
    with sites("docker", verify={"suites": ["smoke"]}, egress=[host]) as site:
        site.deploy()
        site.deploy("another release")
        yield site


def run(site: Site, *only: str) -> VerificationReport:
    return verify(site.world, VerifyRequest("dev", suites=("isolation",), only=only))


def outcomes(report: VerificationReport, outcome: str) -> dict[str, str]:
    found = {check.id: check.message for check in report.checks if check.outcome == outcome}
    return {name.removeprefix("isolation."): message for name, message in found.items()}


def test_every_sentence_is_true(site: Site) -> None:
    report = run(site)
    assert outcomes(report, "failed") | outcomes(report, "error") == {}
    assert outcomes(report, "skipped").keys() == {"no_egress"}
    assert report.verdict == "pass"


def test_every_sentence_can_be_found_untrue(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = f"dcops-{site.world.project.slug}-dev"
    serving = f"{prefix}-i-{site.current().serving}"
    configure, start = docker_engine.instance_config, DockerEngine.start

    def opened(*arguments: Any) -> dict[str, Any]:
        config = configure(*arguments)
        host = config["HostConfig"]
        host["Mounts"][0]["ReadOnly"] = False  # the control files
        host["Mounts"] += [
            {"Type": "volume", "Source": f"{prefix}-control", "Target": "/control"},
            {"Type": "bind", "Source": "/var/run/docker.sock", "Target": "/var/run/docker.sock"},
        ]
        host |= {
            "ReadonlyRootfs": False,
            "CapDrop": [],
            "SecurityOpt": [],
            "ReadonlyPaths": [],
            "MaskedPaths": [],
        }
        host |= {"Memory": 0, "MemorySwap": 0, "NanoCpus": 0, "PidsLimit": -1}
        host |= {"PidMode": f"container:{serving}", "ExtraHosts": ["example.com:192.0.2.1"]}
        return {**config, "User": "0:0", "Env": [*config["Env"], f"PLANTED={PLANTED}"]}

    def start_opened(engine: DockerEngine, spec: InstanceSpec) -> None:
        start(engine, spec)
        for network in (serving, f"{prefix}-public"):
            subprocess.run(["docker", "network", "connect", network, f"{prefix}-i-{spec.id}"], check=True)

    monkeypatch.setattr(docker_engine, "instance_config", opened)
    monkeypatch.setattr(DockerEngine, "start", start_opened)
    report = run(site)
    assert outcomes(report, "error") == {}
    assert outcomes(report, "passed").keys() <= OF_THE_PROXY
    assert report.verdict == "fail"


def test_a_host_that_is_listed_and_not_opened_is_found(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    files = InstanceRecord.files

    def unlisted(record: InstanceRecord) -> dict[str, bytes | None]:
        return {path: data for path, data in files(record).items() if not path.startswith("egress/")}

    monkeypatch.setattr(InstanceRecord, "files", unlisted)
    report = run(site, "egress", "egress_others")
    assert outcomes(report, "failed").keys() == {"egress", "egress_others"}


def test_without_egress_there_is_no_way_out(site: Site) -> None:
    file = site.root / "environments" / "dev" / "environment.yaml"
    before = file.read_text()
    file.write_text(yaml.safe_dump({**yaml.safe_load(before), "egress": []}))
    try:
        site.deploy()
        report = run(site, "no_egress", "names", "egress")
        assert outcomes(report, "passed").keys() == {"no_egress", "names"}
        assert outcomes(report, "skipped").keys() == {"egress"}
    finally:
        file.write_text(before)
