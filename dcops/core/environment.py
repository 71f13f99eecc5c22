"""A named place to deploy to, as its files describe it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dcops.core.protocols import Https, Limits
from dcops.core.toggles import changes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dcops.core.toggles import Change


@dataclass(frozen=True, slots=True)
class Project:
    """The directory that holds ``environments/``.

    Attributes:
        root: Absolute.
        name: For people and for the names of containers and volumes: ``[a-z0-9-]``.
        id: 8 hex digits that mark everything this project owns; differs between two clones.
    """

    root: Path
    name: str
    id: str

    @property
    def slug(self) -> str:
        return f"{self.name}-{self.id}"


@dataclass(frozen=True, slots=True)
class Bake:
    """How a new release is watched after the switch.

    Attributes:
        seconds: How long; 0 for not at all.
        errors: Percent of requests that may fail.
        cut_streams: Streams that may be cut.
        minimum: Requests that it takes to judge.
    """

    seconds: float = 0.0
    errors: float = 5.0
    cut_streams: int = 0
    minimum: int = 20


@dataclass(frozen=True, slots=True)
class Environment:
    """What ``environments/<name>/environment.yaml`` and ``toggles.yaml`` say; times are seconds.

    Attributes:
        implementation: Absolute directory of the implementation.
        key: Reference to the API key, ``env:NAME``, ``file:PATH`` or ``cmd:COMMAND``; never the key.
        port: 0 means: take a free one once and keep it.
        bind: Address the proxy listens on.
        hosts: Hosts that requests may name besides loopback.
        https: None when there is no domain.
        egress: Hosts that tools may reach from inside an instance on Docker: ``host`` or ``host:port``.
        after: Environment that must have served and verified a release before; empty for none.
        keep: Deployments whose releases and builds are kept.
        sessions_keep: How long a session is kept that nobody uses; None for ever.
        isolation: ``none`` lets tools run as the user on the process engine with a real model.
        toggles: Values only, as in ``toggles.yaml``.
    """

    name: str
    engine: Literal["auto", "process", "docker"]
    implementation: Path
    model: Literal["scripted", "api"] = "scripted"
    key: str = ""
    api_url: str = "https://api.anthropic.com"
    protected: bool = False
    port: int = 0
    bind: str = "127.0.0.1"
    hosts: tuple[str, ...] = ()
    https: Https | None = None
    egress: tuple[str, ...] = ()
    bake: Bake = field(default_factory=Bake)
    after: str = ""
    keep: int = 10
    sessions_keep: float | None = None
    isolation: Literal["", "none"] = ""
    base_image: str = "dcops-base:bookworm"
    limits: Limits = field(default_factory=Limits)
    variables: dict[str, str] = field(default_factory=dict)
    logs: Path = Path()
    backups: Path = Path()
    suites: tuple[str, ...] = ("smoke", "toggles", "streaming", "contract")
    ready_timeout: float = 60.0
    drain_timeout: float = 30.0
    warm_for: float = 3600.0
    hook_timeout: float = 300.0
    toggles: dict[str, Any] = field(default_factory=dict)


def setting_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Change]:
    """What differs between two configurations; limits and variables each by their own name."""
    return changes(_flat(old), _flat(new))


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        inner = isinstance(value, dict)
        flat |= {f"{name}.{each}": value[each] for each in value} if inner else {name: value}
    return flat
