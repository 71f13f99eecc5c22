"""A named place to deploy to, as its files describe it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dcops.core.protocols import Limits


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
class Environment:
    """What ``environments/<name>/environment.yaml`` and ``toggles.yaml`` say; times are seconds.

    Attributes:
        implementation: Absolute directory of the implementation.
        key: Reference to the API key, ``env:NAME`` or ``file:PATH``; never the key.
        port: 0 means: take a free one once and keep it.
        bind: Address the proxy listens on.
        hosts: Hosts that requests may name besides loopback.
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
    toggles: dict[str, Any] = field(default_factory=dict)
