"""What the Docker engine asks the daemon for, as plain data: names, labels, containers, networks.

Everything of an environment is called ``dcops-<project>-<environment>-...`` and carries labels that never
change; no label, command or variable holds a secret. Seen from the proxy, and from the helper container that
stands in for it while it is down::

    /control     volume ...-control: pointer, tokens, records
    /instances   volume ...-instances: what instances see of the control store
    /secrets     volume ...-secrets: read-only here and mounted nowhere else
    /data        memory; with a domain volume ...-certificates: Caddy's storage

and from an instance: ``/instances`` read-only, ``/state`` and ``/workspace`` (the environment's, or its own
for a twin), ``/tmp`` (memory).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from dcops.core.protocols import Https, InstanceSpec, ProxyLayout, ProxySpec, Role

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from dcops.core.environment import Environment, Project

Config = dict[str, Any]

FORMAT = "1"
PROXY_USER = 65531
INSTANCE_USER = 65532
PUBLIC_PORT = 8100
HTTPS_PORT = 8443
REDIRECT_PORT = 8180
GATEWAY_PORT = 8080
INSTANCE_PORT = 8000
SPECIFICATION = "dcops.specification"
ONE_OFF = "one-off"  # a role in labels only: what a killed dcops has left of it goes with the next sweep
EGRESS_ALIAS = "egress"
EGRESS_PORT = 3128
EGRESS_LABEL = "dcops.egress"
"""On the network of an instance that has hosts to reach."""
VOLUMES = ("instances", "secrets", "state", "workspace", "control")
DATA_VOLUMES = ("state", "workspace")
DATA_ROOTS = {kind: f"/{kind}" for kind in DATA_VOLUMES}
SCRATCH = "/scratch"
CERTIFICATES = "certificates"

# The public listener stands on the published network only; an instance's network has just the gateway.
LAYOUT = ProxyLayout(
    listen=f"{{env.DCOPS_PUBLIC}}:{PUBLIC_PORT}",
    gateway_listen=f":{GATEWAY_PORT}",
    control="/control",
    instance_dial=f"{{id}}:{INSTANCE_PORT}",
    secret="/secrets/api-key",  # noqa: S106 - a path
    data="/data",
)


def layout(https: Https | None) -> ProxyLayout:
    """With a domain the proxy also listens for HTTPS; its own user may not have the usual ports."""
    if https is None:
        return LAYOUT
    listen = "{{env.DCOPS_PUBLIC}}:{}".format
    redirect = listen(REDIRECT_PORT) if https.redirect else ""
    return replace(LAYOUT, https_listen=listen(HTTPS_PORT), redirect_listen=redirect)


POLICIES: Mapping[Role, str] = {
    "candidate": "no",
    "serving": "unless-stopped",
    "model": "unless-stopped",
    "warm": "on-failure",
    "draining": "on-failure",
    "twin": "on-failure",
}


@dataclass(frozen=True, slots=True)
class Names:
    """Names and labels of one environment's objects."""

    project: Project
    environment: Environment

    @property
    def prefix(self) -> str:
        return f"dcops-{self.project.slug}-{self.environment.name}"

    @property
    def proxy(self) -> str:
        return f"{self.prefix}-proxy"

    @property
    def egress(self) -> str:
        return f"{self.prefix}-egress"

    @property
    def network(self) -> str:
        """The ordinary network, where the proxy publishes its port; egress goes out by it."""
        return f"{self.prefix}-public"

    def instance(self, instance: str) -> str:
        """The container of an instance, and the internal network that it has for itself."""
        return f"{self.prefix}-i-{instance}"

    def volume(self, kind: str) -> str:
        return f"{self.prefix}-{kind}"

    def private_volume(self, instance: str, kind: str) -> str:
        """State or workspace of an instance that does not share the environment's; it goes with it."""
        return f"{self.instance(instance)}-{kind}"

    def image(self, tag: str) -> str:
        return f"dcops-{self.project.slug}:{tag}"

    def build(self, build: str) -> str:
        return self.image(f"build-{build}")

    @property
    def project_labels(self) -> dict[str, str]:
        return {"dcops.format": FORMAT, "dcops.project": self.project.slug}

    @property
    def labels(self) -> dict[str, str]:
        return {**self.project_labels, "dcops.environment": self.environment.name}


def hardened(user: int, *, memory: int, pids: int, tmpfs: Mapping[str, str]) -> Config:
    """What every container of ours has in its HostConfig; ``tmpfs`` gives sizes by directory."""
    options = f"rw,exec,nosuid,nodev,uid={user},gid={user},mode=0700"
    return {
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "Init": True,
        "IpcMode": "private",
        "Memory": memory,
        "MemorySwap": memory,
        "PidsLimit": pids,
        "Tmpfs": {path: f"{options},size={size}" for path, size in tmpfs.items()},
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}},
    }


def specified(config: Config) -> Config:
    """The same with a label that tells two specifications apart."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return {**config, "Labels": {**config["Labels"], SPECIFICATION: digest}}


def _mount(volume: str, target: str, *, read_only: bool = False) -> Config:
    return {"Type": "volume", "Source": volume, "Target": target, "ReadOnly": read_only}


def instance_config(names: Names, spec: InstanceSpec, image: str) -> Config:
    """The container of an instance: it reaches its gateway and nothing else."""
    mounts = [_mount(names.volume("instances"), "/instances", read_only=True)]
    mounts += volume_mounts(names, DATA_VOLUMES) if spec.shared_state else private_mounts(names, spec.id)
    limits = spec.limits
    network = names.instance(spec.id)
    config = {
        "Image": image,
        "Entrypoint": words(spec.command),
        "Cmd": [],
        "Env": [f"{name}={value}" for name, value in _variables(spec).items()],
        "User": f"{INSTANCE_USER}:{INSTANCE_USER}",
        "Hostname": spec.id,
        "StopSignal": "SIGTERM",
        "StopTimeout": round(spec.stop_seconds),
        "Labels": {
            **names.labels,
            "dcops.instance": spec.id,
            "dcops.role": spec.role,
            "dcops.release": spec.release,
            "dcops.build": spec.build,
        },
        "HostConfig": {
            **hardened(INSTANCE_USER, memory=limits.memory, pids=limits.pids, tmpfs={"/tmp": "256m"}),  # noqa: S108
            "NanoCpus": round(limits.cpus * 1e9),
            "Mounts": mounts,
            "NetworkMode": network,
            "RestartPolicy": {"Name": POLICIES[spec.role]},
            # The daemon would otherwise ask its own name servers for the instance, past the closed network.
            # Docker answers nothing when nobody there does, so whoever asks must not wait long.
            "Dns": ["127.0.0.1"],
            "DnsOptions": ["timeout:1", "attempts:2"],
        },
        "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": [spec.id]}}},
    }
    return specified(config)


def words(command: Sequence[str]) -> list[str]:
    """A command with the interpreter's name in an image; not every one has a plain ``python``."""
    return ["python3", *command[1:]] if command[0] == "python" else list(command)


def run_config(names: Names, spec: InstanceSpec, image: str, command: Sequence[str]) -> Config:
    """As an instance's, for one command with the environment's state: no network, no control files."""
    config = instance_config(names, replace(spec, command=tuple(command)), image)
    kept = ("Image", "Entrypoint", "Cmd", "Env", "User", "Hostname")
    host = {**config["HostConfig"], "NetworkMode": "none", "RestartPolicy": {"Name": "no"}}
    for needless in ("Dns", "DnsOptions"):
        del host[needless]
    return {
        **{name: config[name] for name in kept},
        "Labels": {**names.labels, "dcops.role": ONE_OFF},
        "NetworkDisabled": True,
        "HostConfig": {**host, "Mounts": volume_mounts(names, DATA_VOLUMES)},
    }


def _variables(spec: InstanceSpec) -> dict[str, str]:
    return {
        "HOME": "/workspace",
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108 - memory inside the container
        **spec.variables,
        "DCOPS_LISTEN": f"tcp:0.0.0.0:{INSTANCE_PORT}",
        "DCOPS_CONTROL_DIR": f"/instances/{spec.id}",
        "DCOPS_STATE_DIR": "/state",
        "DCOPS_WORKSPACE": "/workspace",
        "ANTHROPIC_BASE_URL": f"http://gateway:{GATEWAY_PORT}",
        **(_way_out(spec) if spec.egress else {}),
    }


def _way_out(spec: InstanceSpec) -> dict[str, str]:
    token = spec.variables["ANTHROPIC_API_KEY"]
    url = f"http://dcops:{token}@{EGRESS_ALIAS}:{EGRESS_PORT}"
    # Programs differ in which of the two they know.
    return {"HTTPS_PROXY": url, "https_proxy": url, "NO_PROXY": "gateway", "no_proxy": "gateway"}


def instance_network(names: Names, spec: InstanceSpec) -> Config:
    """Internal, and without an address of the host: its own services would answer there."""
    return {
        "internal": True,
        "options": {"com.docker.network.bridge.inhibit_ipv4": "true"},
        "labels": {
            **names.labels,
            "dcops.instance": spec.id,
            **({EGRESS_LABEL: "yes"} if spec.egress else {}),
        },
    }


def proxy_config(names: Names, image: str, spec: ProxySpec) -> Config:
    """The proxy's container. Its configuration is a variable: it holds no secret and never changes."""
    published = _published(spec)
    storage = [_mount(names.volume(CERTIFICATES), "/data")] if spec.https else []
    return {
        "Image": image,
        "Env": [f"DCOPS_PROXY={spec.configuration}"],
        "User": f"{PROXY_USER}:{PROXY_USER}",
        "Hostname": "gateway",
        "StopTimeout": 15,
        "ExposedPorts": {key: {} for key in published},
        "Labels": {
            **names.labels,
            "dcops.role": "proxy",
            "dcops.configuration": spec.digest,
            "dcops.port": str(spec.port),
        },
        "HostConfig": {
            **hardened(PROXY_USER, memory=512 << 20, pids=256, tmpfs={} if storage else {"/data": "64m"}),
            "Mounts": [
                *store_mounts(names),
                _mount(names.volume("secrets"), "/secrets", read_only=True),
                *storage,
            ],
            "NetworkMode": names.network,
            "PortBindings": published,
            "RestartPolicy": {"Name": "unless-stopped"},
        },
    }


def inside_ports(spec: ProxySpec) -> dict[int, tuple[str, int]]:
    """Which port of the proxy's container is which address of the host."""
    inside = (PUBLIC_PORT, HTTPS_PORT, REDIRECT_PORT)
    return dict(zip(inside, spec.addresses, strict=False))


def _published(spec: ProxySpec) -> dict[str, list[dict[str, str]]]:
    return {
        f"{inside}/tcp": [{"HostIp": bind, "HostPort": str(port)}]
        for inside, (bind, port) in inside_ports(spec).items()
    }


def egress_config(names: Names, image: str, command: Sequence[str]) -> Config:
    """The container that opens named hosts to tools: it reads who may go where, and holds nothing."""
    return specified(
        {
            "Image": image,
            "Entrypoint": list(command),
            "Cmd": [],
            "User": f"{PROXY_USER}:{PROXY_USER}",
            "Hostname": EGRESS_ALIAS,
            "StopTimeout": 2,
            "Labels": {**names.labels, "dcops.role": "egress"},
            "HostConfig": {
                **hardened(PROXY_USER, memory=256 << 20, pids=64, tmpfs={}),
                "Mounts": [_mount(names.volume("control"), "/control", read_only=True)],
                "NetworkMode": names.network,
                "RestartPolicy": {"Name": "unless-stopped"},
            },
        }
    )


def store_mounts(names: Names) -> list[Config]:
    return [_mount(names.volume(kind), f"/{kind}") for kind in ("control", "instances")]


def volume_mounts(names: Names, kinds: Sequence[str]) -> list[Config]:
    return [_mount(names.volume(kind), f"/{kind}") for kind in kinds]


def private_mounts(names: Names, instance: str) -> list[Config]:
    return [_mount(names.private_volume(instance, kind), f"/{kind}") for kind in DATA_VOLUMES]


def helper_config(names: Names, image: str, command: Sequence[str], mounts: Sequence[Config]) -> Config:
    """A container for one command beside the proxy's volumes, as the proxy's user, without a network."""
    return {
        "Image": image,
        "Entrypoint": list(command),
        "Cmd": [],
        "User": f"{PROXY_USER}:{PROXY_USER}",
        "Labels": {**names.labels, "dcops.role": "helper"},
        "NetworkDisabled": True,
        "HostConfig": {
            **hardened(PROXY_USER, memory=256 << 20, pids=64, tmpfs={}),
            "LogConfig": {"Type": "none"},  # what it says goes to us, and is kept nowhere
            "Mounts": list(mounts),
            "NetworkMode": "none",
        },
    }


def state_config(names: Names, image: str, command: Sequence[str]) -> Config:
    """A helper beside the state, as its user, with a volume of its own for as long as it lives."""
    config = helper_config(names, image, command, volume_mounts(names, DATA_VOLUMES))
    config["User"] = f"{INSTANCE_USER}:{INSTANCE_USER}"
    config["HostConfig"]["Mounts"].append({"Type": "volume", "Target": SCRATCH})
    return config
