"""What an instance is told from outside at its start: the container contract's environment variables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_SOCKET_PATH = 107  # bytes; the kernel's limit for a Unix socket address
_REQUIRED = (
    "DCOPS_LISTEN",
    "DCOPS_CONTROL_DIR",
    "DCOPS_STATE_DIR",
    "DCOPS_WORKSPACE",
    "DCOPS_RELEASE",
    "DCOPS_INSTANCE",
    "DCOPS_ENVIRONMENT",
    "ANTHROPIC_API_KEY",
)


class SettingsError(ValueError):
    """The instance cannot start with what it was told; its text says what to set."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where an instance listens: a Unix socket's path, or a host and port."""

    path: Path | None = None
    host: str = ""
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `unix:/path` or `tcp:host:port`.

        Raises:
            SettingsError: Neither of the two, or a path longer than a socket address can be.
        """
        kind, _, rest = text.partition(":")
        if kind == "unix" and rest.startswith("/"):
            if len(rest.encode()) > MAX_SOCKET_PATH:
                raise SettingsError(f"the socket path {rest} is longer than {MAX_SOCKET_PATH} bytes")
            return cls(path=Path(rest))
        host, _, port = rest.rpartition(":")
        if kind == "tcp" and host and re.fullmatch(r"\d{1,5}", port) and int(port) <= 65535:
            return cls(host=host.strip("[]"), port=int(port))
        raise SettingsError(f"cannot listen on {text!r}: write unix:/path or tcp:host:port")

    @property
    def url_host(self) -> str:
        """The host as it stands in a URL, an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"tcp:{self.url_host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything an instance is told at its start; it does not change while the instance lives.

    Attributes:
        listen: Where the instance listens.
        control_dir: Directory of `toggles.json`, `access.json` and `role.json`; read-only.
        toggles_file: A plain file of values in place of `control_dir/toggles.json`.
        state_dir: Where the journal and tool outputs live; shared with other instances.
        workspace: Where tools work, each session in a directory of its own.
        one_workspace: All sessions work in `workspace` itself.
        api_key: Token for the model at `base_url`.
        base_url: Where the Messages API is; None means the SDK's default.
        stop_seconds: Time from SIGTERM to the end, for running turns to finish.
        max_running_turns: Turns that may run in this instance at the same time.
        disk_free: Bytes that must be free where state and workspace are for a turn to start.
        sessions_keep: Seconds without a turn after which a session is removed; None keeps all.
    """

    listen: Address
    control_dir: Path
    state_dir: Path
    workspace: Path
    api_key: str = field(repr=False)
    base_url: str | None = None
    toggles_file: Path | None = None
    one_workspace: bool = False
    release: str = "unreleased"
    instance: str = "alone"
    environment: str = "none"
    stop_seconds: float = 20.0
    max_running_turns: int = 64
    disk_free: int = 256 << 20
    sessions_keep: float | None = None

    @classmethod
    def from_environment(cls, variables: Mapping[str, str]) -> Settings:
        """Read the settings that dcops gives to an instance.

        Args:
            variables: Usually `os.environ`.

        Raises:
            SettingsError: A variable is missing or unusable.
        """
        if missing := [name for name in _REQUIRED if not variables.get(name)]:
            raise SettingsError(
                f"{', '.join(missing)} must be set; to run the agent without dcops, use --toggles FILE"
            )
        return cls(
            listen=Address.parse(variables["DCOPS_LISTEN"]),
            control_dir=Path(variables["DCOPS_CONTROL_DIR"]),
            state_dir=Path(variables["DCOPS_STATE_DIR"]),
            workspace=Path(variables["DCOPS_WORKSPACE"]),
            release=variables["DCOPS_RELEASE"],
            instance=variables["DCOPS_INSTANCE"],
            environment=variables["DCOPS_ENVIRONMENT"],
            api_key=variables["ANTHROPIC_API_KEY"],
            base_url=variables.get("ANTHROPIC_BASE_URL") or None,
            stop_seconds=_number(variables, "DCOPS_STOP_SECONDS", 20.0),
            max_running_turns=max(1, int(_number(variables, "DCOPS_MAX_RUNNING_TURNS", 64))),
            disk_free=int(_number(variables, "DCOPS_DISK_FREE", 256 << 20, zero=True)),
            sessions_keep=_number(variables, "DCOPS_SESSIONS_KEEP", 0, zero=True) or None,
        )


def _number(variables: Mapping[str, str], name: str, default: float, *, zero: bool = False) -> float:
    text = variables.get(name) or str(default)
    if not re.fullmatch(r"\d+(\.\d+)?", text) or not (zero or float(text) > 0):
        raise SettingsError(f"{name} must be a number {'of at least' if zero else 'above'} 0, not {text!r}")
    return float(text)
