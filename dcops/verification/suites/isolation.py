"""What a tool can and cannot reach from inside its instance, as docs/security.md promises it.

Each check proves the sentence that is its docstring. It lets the agent's tool for commands run `inside`.
"""

from __future__ import annotations

import contextlib
import inspect
import ipaddress
import json
import shlex
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dcops.verification import inside
from dcops.verification.conversation import of_kind
from dcops.verification.expectations import expect
from dcops.verification.model import call, reply, text
from dcops.verification.reach import wait_until_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from dcops.client import Client
    from dcops.core.verification import Target
    from dcops.verification.conversation import Conversation
    from dcops.verification.model import Model

    Look = Callable[..., Any]

NO_RIGHTS = ["0000000000000000"]
LOOK_SECONDS = 60.0
MOST_PIDS = 4096
OWN_PLACES = ["/dev/mqueue", "/dev/shm", "/state", "/tmp", "/workspace"]  # noqa: S108
# Where Docker takes the networks of its bridges from, unless its daemon is told otherwise.
POOLS = [f"172.{number}.0" for number in range(17, 32)] + [
    f"192.168.{number}" for number in range(0, 256, 16)
]
SERVICES = (22, 53, 80, 443, 2375, 2376, 8000, 8080, 8100)
OUTSIDE = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "169.254.169.254", "169.254.170.2", "100.100.100.200"]
UNKNOWN = "dcops-check.invalid"
NOT_PASSED = [
    ("GET", "/"),
    ("GET", "/v1/messages"),
    ("GET", "/v1/files"),
    ("GET", "/v1/models/../messages"),
    ("GET", "/v1/models/a/b"),
    ("GET", "/v1/organizations/api_keys"),
    ("POST", "/v1/models"),
    ("POST", "/v1/messages/"),
    ("POST", "/v1/messages/batches"),
    ("POST", "/v1/models/../messages"),
    ("POST", "/v1/messages%2F..%2Ffiles"),
    ("POST", "//v1/messages"),
    ("DELETE", "/v1/messages"),
    ("PUT", f"/scripts/{'0' * 64}"),
    ("GET", f"/scripts/{'0' * 64}/requests"),
]


@pytest.fixture(autouse=True)
def _isolated(target: Target) -> None:
    if target.engine != "docker":
        pytest.skip("tools run on this machine as you, there is nothing to check: see docs/security.md")


@pytest.fixture
def look(model: Model, conversation: Conversation, bash: str) -> Look:
    """Calls a function of `inside` where the agent's tools run."""
    number = 0

    def run(function: Callable[..., Any], **arguments: Any) -> Any:
        nonlocal number
        number += 1
        words = ["python3", "-I", "-", function.__name__, json.dumps(arguments)]
        command = f"{shlex.join(words)} <<'END_OF_LOOK'\n{inspect.getsource(inside)}\nEND_OF_LOOK"
        look_once = call(f"call_look_{number}", bash, command=command)
        model.replies(reply(look_once, chunk=4096), reply(text("Seen.")))
        conversation.say("Look around.")
        result = of_kind(conversation.finish(LOOK_SECONDS), "TOOL_CALL_RESULT")[-1]["content"]
        if "python3: command not found" in result:
            pytest.skip("there is no python3 in this instance to look around with")
        return _answer(function.__name__, result)

    return run


def _answer(name: str, result: str) -> Any:
    for line in result.splitlines():
        with contextlib.suppress(ValueError):
            return json.loads(line)
    raise AssertionError(f"{name}: expected a line of JSON from inside, got {result[-400:]!r}")


def test_user(look: Look) -> None:
    """It runs as a user of its own and never as root."""
    identity = look(inside.identity)
    users = {*identity["Uid"], *identity["Gid"], *identity["Groups"]}
    expect("users and groups that a tool is", expected=1, got=len(users))
    assert users != {"0"}, "user of a tool: expected one of its own, got root"


def test_no_capabilities(look: Look) -> None:
    """It has no capabilities and can get none."""
    identity = look(inside.identity)
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        expect(name, expected=NO_RIGHTS, got=identity[name])


def test_no_new_privileges(look: Look) -> None:
    """A program that it starts gains no rights, also one with the setuid bit."""
    identity = look(inside.identity)
    expect("NoNewPrivs", expected=["1"], got=identity["NoNewPrivs"])
    rights = look(inside.setuid)
    plain = rights.pop("/bin/true")
    for program, shown in rights.items():
        expect(f"rights of {program}, which has the setuid bit", expected=plain, got=shown)


def test_writes(look: Look) -> None:
    """It writes to its workspace, the state directory and memory, and nowhere else."""
    expect("places that a tool can write to", expected=OWN_PLACES, got=look(inside.writable))
    tried = [f"{place}/dcops-check" for place in ("", "/etc", "/usr/bin", "/opt/build", "/root", "/var/tmp")]  # noqa: S108
    written = [path for path, came in look(inside.write, paths=tried).items() if came == "written"]
    expect("files that could be written", expected=[], got=written)


def test_kernel(look: Look) -> None:
    """It changes no setting of the kernel: `/proc/sys` and `/sys` are closed to it."""
    paths = [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sysrq-trigger",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/dcops-check",
        "/sys/kernel/uevent_helper",
    ]
    written = [path for path, came in look(inside.write, paths=paths).items() if came == "written"]
    expect("settings of the kernel that could be opened for writing", expected=[], got=written)


def test_control_store(look: Look) -> None:
    """The pointer, the tokens of others and the secret store are not there for it."""
    paths = ["/control", "/secrets", "/data", "/run/secrets"]
    expect("directories of the proxy that a tool finds", expected=[], got=look(inside.exists, paths=paths))


def test_control_files(look: Look, target: Target) -> None:
    """It reads the control files of its environment's instances, and changes none."""
    found = look(inside.control)
    assert "toggles.json" in found.get(target.instance, []), f"its control files: got {found}"
    paths = [f"/instances/{name}/{file}" for name, files in found.items() for file in [*files, "new.json"]]
    written = [path for path, came in look(inside.write, paths=paths).items() if came == "written"]
    expect("control files that could be opened for writing", expected=[], got=written)


def test_no_sockets(look: Look) -> None:
    """It finds no socket of Docker or of another program."""
    paths = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"]
    expect("sockets of the engine", expected=[], got=look(inside.exists, paths=paths))
    found = [path for path in look(inside.sockets) if not path.startswith(tuple(OWN_PLACES))]
    expect("sockets of others", expected=[], got=found)


def test_processes(look: Look) -> None:
    """It sees the processes of its own instance and no others."""
    users = {tuple(each["users"]) for each in look(inside.processes) if each["users"]}
    own = tuple({int(uid) for uid in look(inside.identity)["Uid"]})
    expect("users of the processes that it sees", expected={own}, got=users)


def test_token(look: Look) -> None:
    """Its instance's processes hold the throw-away gateway token and no other key."""
    keys = {key for each in look(inside.processes) for key in each["keys"]}
    expect("number of values of ANTHROPIC_API_KEY", expected=1, got=len(keys))
    [key] = keys
    assert len(key) == 64, "ANTHROPIC_API_KEY: expected a gateway token of 64 digits, got something else"
    assert set(key) <= set("0123456789abcdef"), "ANTHROPIC_API_KEY: expected a gateway token of hex digits"


def test_no_key(look: Look) -> None:
    """No file, environment or command line that it can read holds what looks like a key of the API."""
    expect("places with what looks like a key", expected=[], got=look(inside.keys))


def test_no_internet(look: Look) -> None:
    """It reaches no address outside, be it of the internet or of a cloud's metadata."""
    targets = [[address, port] for address in OUTSIDE for port in (53, 80, 443)]
    expect("addresses that it reaches", expected=[], got=look(inside.reached, targets=targets))
    expect("name servers that answer it", expected=[], got=look(inside.answered, servers=OUTSIDE[:2]))
    network = look(inside.network)
    expect("interfaces besides loopback", expected=1, got=len(network["interfaces"]))
    expect("IPv6 addresses", expected=[], got=network["v6"])


def test_no_host(look: Look, listener: socket.socket) -> None:
    """It does not reach the machine that it runs on, by any of its addresses."""
    port = listener.getsockname()[1]
    own = look(inside.network)["address"]
    bridges = [f"{pool}.1" for pool in [*POOLS, own.rpartition(".")[0]]]
    addresses = sorted({*_host_addresses(), *bridges})
    targets = [[address, each] for address in addresses for each in (port, *SERVICES)]
    expect("addresses of the host that it reaches", expected=[], got=look(inside.reached, targets=targets))
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_no_other_instance(look: Look, target: Target) -> None:
    """It does not reach another instance, by name or by address."""
    others = [name for name in look(inside.control) if name != target.instance]
    expect("names of other instances that it finds", expected=[], got=look(inside.named, names=others))
    own = look(inside.network)["address"].rpartition(".")[0]
    pools = [pool for pool in POOLS if pool != own]
    targets = [
        [f"{pool}.{host}", port] for pool in pools for host in range(2, 8) for port in (8000, 8080, 8100)
    ]
    expect("instances that it reaches", expected=[], got=look(inside.reached, targets=targets))


def test_names(look: Look, target: Target) -> None:
    """It finds no name but its own, `gateway` and, where there is one, `egress`."""
    names = ["gateway", "egress", "host.docker.internal", "gateway.docker.internal", "example.com", UNKNOWN]
    expected = ["gateway", "egress"] if target.egress else ["gateway"]
    expect("names that it finds", expected=expected, got=look(inside.named, names=names))


def test_gateway_port(look: Look) -> None:
    """Of the proxy it reaches the gateway's port and no other."""
    expect("open ports of the proxy", expected=[inside.GATEWAY[1]], got=look(inside.ports, host="gateway"))


def test_gateway_paths(look: Look) -> None:
    """The gateway passes messages, their count of tokens and the models, and nothing else."""
    own = {"X-Api-Key": "TOKEN"}
    question = {"model": "claude-sonnet-5", "messages": [{"role": "user", "content": "Hello."}]}
    passed = [
        ["POST", "/v1/messages", own, "no JSON"],
        ["POST", "/v1/messages/count_tokens", own, json.dumps(question)],
        ["GET", "/v1/models?limit=1", own, None],
    ]
    expect("status of what passes", expected=[400, 200, 200], got=look(inside.ask_gateway, requests=passed))
    refused = [[method, path, own, None] for method, path in NOT_PASSED]
    statuses = look(inside.ask_gateway, requests=refused)
    got = [
        f"{way[0]} {way[1]}: {status}"
        for way, status in zip(NOT_PASSED, statuses, strict=True)
        if status != 404
    ]
    expect("what passes besides", expected=[], got=got)


def test_gateway_token(look: Look) -> None:
    """The gateway knows it by its own token, and lets it in with no other and with none."""
    proofs: list[dict[str, str]] = [
        {"X-Api-Key": "TOKEN"},
        {"Authorization": "Bearer TOKEN"},
        {},
        {"X-Api-Key": "0" * 64},
        {"X-Api-Key": "../scripted/TOKEN"},
        {"X-Api-Key": "TOKEN0"},
        {"Authorization": f"Bearer {'f' * 64}"},
        {"Authorization": "Basic TOKEN"},
    ]
    asked = [["GET", "/v1/models", proof, None] for proof in proofs]
    expected = [200, 200, 401, 401, 401, 401, 401, 401]
    expect("status by token", expected=expected, got=look(inside.ask_gateway, requests=asked))


def test_limits(look: Look, target: Target) -> None:
    """Its memory, processors and processes are limited as `limits` in `environment.yaml` says."""
    found = look(inside.limits)
    expect("limit of processes", expected=target.limits["pids"], got=found["pids"])
    expect("limit of processors", expected=round(target.limits["cpus"], 2), got=round(found["cpus"] or 0, 2))
    # The kernel counts in pages.
    expect("limit of memory", expected=target.limits["memory"] // 65536, got=(found["memory"] or 0) // 65536)


def test_storm(look: Look, agent: Client, target: Target) -> None:
    """When it starts as many processes as it can, it is refused at the limit, and the agent goes on."""
    limit = int(target.limits["pids"])
    if limit > MOST_PIDS:
        pytest.skip(f"{limit} processes are more than this check starts")
    before = look(inside.processes)[0]
    storm = look(inside.storm, limit=limit)
    assert storm["refused"], f"processes: expected a refusal at {limit}, got {storm['taken']} and more"
    wait_until_ready(agent, target.ready_seconds)
    expect(
        "the instance's first process, in the same conversation",
        expected=before,
        got=look(inside.processes)[0],
    )


def test_no_egress(look: Look, target: Target) -> None:
    """Where `egress` lists nothing there is no way out."""
    if target.egress:
        pytest.skip("this environment lists hosts under egress")
    expect("names that it finds", expected=[], got=look(inside.named, names=["egress"]))


def test_egress(look: Look, target: Target) -> None:
    """The hosts that `egress` lists are opened to it, through the proxy that `HTTPS_PROXY` names."""
    if not target.egress:
        pytest.skip("this environment lists no hosts under egress")
    targets = [_with_port(entry) for entry in target.egress]
    statuses = look(inside.way_out, requests=[["CONNECT", each, True] for each in targets])
    # Whether the host is there is not for this to say.
    refused = [each for each, status in zip(targets, statuses, strict=True) if status not in {200, 502, 504}]
    expect("listed hosts that were refused", expected=[], got=refused)


def test_egress_others(look: Look, target: Target) -> None:
    """What `egress` does not list is refused, and without its token everything is."""
    if not target.egress:
        pytest.skip("this environment lists no hosts under egress")
    listed = _with_port(target.egress[0])
    requests = [
        ["CONNECT", f"{UNKNOWN}:443", True],
        ["CONNECT", f"{listed.rpartition(':')[0]}:1", True],
        ["CONNECT", "169.254.169.254:80", True],
        ["CONNECT", "[::1]:443", True],
        ["CONNECT", listed, False],
        ["GET", f"http://{listed}/", True],
    ]
    expected = [403, 403, 403, 403, 407, 405]
    expect("status of what is not listed", expected=expected, got=look(inside.way_out, requests=requests))


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A service of this machine, on all its addresses; the machine itself reaches it."""
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104 - it answers nobody
        with socket.create_connection(("127.0.0.1", server.getsockname()[1]), 5):
            server.accept()[0].close()
        server.setblocking(False)
        yield server


def _host_addresses() -> set[str]:
    """The IPv4 addresses of this machine besides loopback."""
    found, address = set(), ""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing
        found.add(str(probe.getsockname()[0]))
    table = Path("/proc/net/fib_trie")
    for line in table.read_text().splitlines() if table.exists() else []:
        if "|--" in line:
            address = line.split()[-1]
        elif "host LOCAL" in line:
            found.add(address)
    return {each for each in found if not ipaddress.ip_address(each).is_loopback}


def _with_port(entry: str) -> str:
    return entry if ":" in entry else f"{entry}:443"
