"""The only reader and writer of ``environments/``."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dcops.core.document import Document, refuse
from dcops.core.environment import Bake, Environment, Project
from dcops.core.protocols import Https, Limits
from dcops.core.schema import Fault
from dcops.core.suggestion import did_you_mean
from dcops.core.toggles import validate
from dcops.core.units import seconds, size
from dcops.errors import NotFound, PreconditionMissing
from dcops.files import write_file

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

PACKAGED_AGENT = Path(__file__).with_name("agent")
_SCHEMA = Path(__file__).with_name("environment.schema.json")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")
_PLAIN = (
    *("engine", "model", "api_url", "protected", "bind", "isolation", "base_image", "variables"),
    *("after", "keep"),
)
_SET_BY_ENGINE = {"ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"}


@dataclass(frozen=True, slots=True)
class EnvironmentFiles:
    """The bytes of an environment's two files."""

    environment: bytes
    toggles: bytes


@dataclass(frozen=True, slots=True)
class Environments:
    """The environments of a project, as their files describe them."""

    project: Project

    def names(self) -> list[str]:
        """Every directory in ``environments/`` that holds one of the two files."""
        return sorted(
            directory.name
            for directory in self._root.iterdir()
            if any((directory / file).exists() for file in ("environment.yaml", "toggles.yaml"))
        )

    def load(self, name: str) -> Environment:
        """Read and check an environment.

        Raises:
            NotFound: There is none of this name (DC-ENVIRONMENT-UNKNOWN).
            PreconditionMissing: Its files are bad (DC-ENVIRONMENT-INVALID); ``faults`` lists everything.
        """
        files = self.read(name)
        environment = Document.parse(files.environment, self._label(name, "environment.yaml"))
        toggles = Document.parse(files.toggles, self._label(name, "toggles.yaml"))
        found = environment.check(_schema())
        rows = environment.rows(
            found or [*_contradictions(environment.value), *self._astray(name, environment)]
        )
        rows += toggles.rows(toggles.check({"type": "object"}))
        if rows:
            raise self._refuse(rows)
        return self._environment(name, environment.value, toggles.value)

    def read(self, name: str) -> EnvironmentFiles:
        """The files as they are, for backups.

        Raises:
            NotFound: There is no such environment (DC-ENVIRONMENT-UNKNOWN).
            PreconditionMissing: A file is missing or unreadable (DC-ENVIRONMENT-INVALID).
        """
        if not _NAME.fullmatch(name) or not (self._root / name).is_dir():
            raise NotFound(
                "DC-ENVIRONMENT-UNKNOWN",
                f"there is no environment {name}",
                why=did_you_mean(name, self.names()),
                do=f"name one of those, or make {self._root / name}/environment.yaml",
                environment=name,
                known=self.names(),
            )
        contents, rows = [], []
        for file in ("environment.yaml", "toggles.yaml"):
            try:
                contents.append((self._root / name / file).read_bytes())
            except OSError as error:
                hint = "it may be empty" if file == "toggles.yaml" else "it needs one line: engine: auto"
                fault = Fault((), f"cannot be read: {error.strerror}", hint)
                rows += Document(self._label(name, file), {}).rows([fault])
        if rows:
            raise self._refuse(rows)
        return EnvironmentFiles(*contents)

    def write(self, name: str, files: EnvironmentFiles) -> None:
        """Put an environment's files back as a backup holds them; each is replaced atomically."""
        directory = self._root / name
        directory.mkdir(exist_ok=True)
        write_file(directory / "environment.yaml", files.environment)
        write_file(directory / "toggles.yaml", files.toggles)

    def check_toggles(self, name: str, schema: Mapping[str, Any]) -> None:
        """Hold ``toggles.yaml`` against a release's schema.

        Raises:
            PreconditionMissing: A value does not fit (DC-ENVIRONMENT-INVALID), with file and line.
        """
        document = Document.parse(self.read(name).toggles, self._label(name, "toggles.yaml"))
        if found := list(document.faults) or validate(document.value, schema):
            raise self._refuse(document.rows(found))

    def set_toggles(self, name: str, values: Mapping[str, Any], *, unset: Collection[str] = ()) -> None:
        """Change values in ``toggles.yaml``: only their bytes, atomically; nothing is validated.

        Args:
            name: The environment.
            values: New values by toggle; entries that are missing are added.
            unset: Toggles whose entries are taken out.

        Raises:
            PreconditionMissing: The file is bad, or too clever to be edited (DC-TOGGLES-NOT-EDITABLE).
        """
        from dcops.core.toggle_text import NotEditableError, set_value, unset_value  # noqa: PLC0415 - 20 ms

        self.load(name)
        file = self._root / name / "toggles.yaml"
        old = text = file.read_bytes().decode()
        try:
            for toggle, value in values.items():
                text = set_value(text, toggle, value)
            for toggle in unset:
                text = unset_value(text, toggle)
        except NotEditableError as error:
            raise PreconditionMissing(
                "DC-TOGGLES-NOT-EDITABLE",
                f"{self._label(name, 'toggles.yaml')} cannot be changed: {error}",
                why="an anchor, a tag or a nested value is in the way; nothing was changed",
                do="change the value by hand, then: dcops toggle apply",
            ) from None
        if text != old:
            write_file(file, text.encode())

    def _astray(self, name: str, environment: Document) -> list[Fault]:
        """Whether ``after`` names no environment, or leads back to where it began."""
        way, after = [name], environment.value.get("after", "")
        if after and not (self._root / after).is_dir():
            close = did_you_mean(after, [each for each in self.names() if each != name])
            return [Fault(("after",), f"there is no environment {after}", close)]
        while after and after not in way:
            way.append(after)
            file = self._root / after / "environment.yaml"
            # What is wrong with that one is told when it is read itself.
            value = Document.parse(file.read_bytes(), str(file)).value if file.is_file() else {}
            after = value.get("after", "") if isinstance(value, dict) else ""
        if not after:
            return []
        return [Fault(("after",), f"leads in a circle: {' after '.join([*way, after])}")]

    @property
    def _root(self) -> Path:
        return self.project.root / "environments"

    def _label(self, name: str, file: str) -> str:
        return f"environments/{name}/{file}"

    def _refuse(self, rows: list[dict[str, Any]]) -> PreconditionMissing:
        files = ", ".join(sorted({str(self.project.root / row["file"]) for row in rows}))
        return refuse("DC-ENVIRONMENT-INVALID", rows, do=f"correct {files}")

    def _environment(self, name: str, values: Mapping[str, Any], toggles: Mapping[str, Any]) -> Environment:
        root = self.project.root
        paths, timeouts = (values.get(part, {}) for part in ("paths", "timeouts"))
        fields = {field: values[field] for field in _PLAIN if field in values}
        if "suites" in values.get("verify", {}):
            fields["suites"] = tuple(values["verify"]["suites"])
        for field, default in (("ready", "60s"), ("drain", "30s"), ("warm", "1h"), ("hook", "5m")):
            target = "warm_for" if field == "warm" else f"{field}_timeout"
            fields[target] = seconds(timeouts.get(field, default))
        return Environment(
            name=name,
            implementation=root / values["implementation"] if "implementation" in values else PACKAGED_AGENT,
            key=_absolute(values.get("key", ""), root),
            port=0 if values.get("port", "auto") == "auto" else values["port"],
            hosts=(*values.get("hosts", ()), *_own_hosts(values)),
            https=Https(values["domain"], **values.get("https", {})) if "domain" in values else None,
            egress=tuple(values.get("egress", ())),
            bake=_bake(values.get("bake", 0)),
            limits=_limits(values.get("limits", {})),
            sessions_keep=seconds(keep) if (keep := values.get("sessions", {}).get("keep")) else None,
            logs=root / paths.get("logs", f".dcops/{name}/logs"),
            backups=root / paths.get("backups", "backups"),
            toggles=dict(toggles),
            **fields,
        )


def _contradictions(values: Mapping[str, Any]) -> list[Fault]:
    """What fits the schema and still cannot be meant."""
    found = []
    if not _is_address(values.get("bind", "127.0.0.1")):
        found.append(Fault(("bind",), "is no IP address", "127.0.0.1, or 0.0.0.0 for every interface"))
    if values.get("model") == "api" and "key" not in values:
        found.append(
            Fault(("model",), "is api, so key must say where the key is", "key: env:ANTHROPIC_API_KEY")
        )
    if "https" in values and "domain" not in values:
        found.append(Fault(("https",), "says how a domain is served, and none is named", "domain: NAME"))
    if not _is_address(values.get("https", {}).get("bind", "0.0.0.0")):  # noqa: S104
        found.append(
            Fault(("https", "bind"), "is no IP address", "127.0.0.1, or 0.0.0.0 for every interface")
        )
    for position, host in enumerate(values.get("egress", ())):
        if not 0 < int(host.partition(":")[2] or 443) < 65536:
            found.append(Fault(("egress", position), "names no port from 1 to 65535", "host, or host:port"))
    if "keep" in values.get("sessions", {}) and not seconds(values["sessions"]["keep"]):
        found.append(
            Fault(("sessions", "keep"), "would keep no session", "a time such as 30d, or no such line")
        )
    for name in values.get("variables", {}):
        at = ("variables", name)
        if name.startswith("DCOPS_") or name in _SET_BY_ENGINE:
            found.append(Fault(at, "is set by dcops and cannot be set here"))
        elif not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            found.append(Fault(at, "is no name of an environment variable"))
    return found


def _own_hosts(values: Mapping[str, Any]) -> Iterator[str]:
    """What users call the agent by, as the file says where it is served: the domain, and the address."""
    import ipaddress  # noqa: PLC0415 - most commands are over before this would pay

    if "domain" in values:
        yield values["domain"]
    bind = ipaddress.ip_address(values.get("bind", "127.0.0.1"))
    if not (bind.is_loopback or bind.is_unspecified):
        yield f"[{bind}]" if bind.version == 6 else str(bind)


def _bake(value: Any) -> Bake:
    settings = value if isinstance(value, dict) else {"for": value}
    rest = {name: each for name, each in settings.items() if name != "for"}
    return Bake(seconds(settings["for"]), **rest)


def _limits(values: Mapping[str, Any]) -> Limits:
    sizes = {name: size(values[name]) for name in ("memory", "disk_free") if name in values}
    return Limits(**{**values, **sizes})


def _is_address(text: str) -> bool:
    import ipaddress  # noqa: PLC0415 - most commands are over before this would pay

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _absolute(key: str, root: Path) -> str:
    kind, _, target = key.partition(":")
    return f"file:{root / target}" if kind == "file" else key


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(_SCHEMA.read_bytes())
    return schema
