"""What dcops itself remembers of each instance: its revision, its tokens."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from dcops.core.deployment import FORMAT, Revision
from dcops.records.intact import intact

if TYPE_CHECKING:
    from dcops.core.protocols import ControlStore

DIRECTORY = "records/instances"
ENDING = ".json"


@dataclass(frozen=True, slots=True)
class InstanceRecord:
    """An instance as it was started.

    Attributes:
        gateway: Path of its gateway token in the control store, ``gateway/scripted/<token>``.
        operator: Path of its operator secret, ``operator/<id>/<secret>``.
    """

    id: str
    revision: Revision
    gateway: str
    operator: str

    @property
    def secret(self) -> str:
        return self.operator.rsplit("/", 1)[1]

    @property
    def scripted(self) -> bool:
        """Whether its gateway leads to the scripted model."""
        return self.gateway.startswith("gateway/scripted/")

    @property
    def gateway_token(self) -> str:
        return self.gateway.rsplit("/", 1)[1]

    @property
    def _egress(self) -> str:
        """Where the hosts that its tools may reach are listed."""
        return f"egress/{self.gateway_token}"

    def files(self) -> dict[str, bytes | None]:
        """What the control store holds for it: this record and the files that proxy and egress look at."""
        document: dict[str, Any] = {"format": FORMAT, **asdict(self)}
        record = json.dumps(document, sort_keys=True).encode()
        hosts = "\n".join(self.revision.configuration.get("egress", ())).encode()
        way_out: dict[str, bytes | None] = {self._egress: hosts} if hosts else {}
        return {path(self.id): record, self.operator: b"", **way_out, self.gateway: b""}

    def removal(self) -> dict[str, bytes | None]:
        return {self.gateway: None, self._egress: None, f"operator/{self.id}": None, path(self.id): None}


def path(instance: str) -> str:
    return f"{DIRECTORY}/{instance}{ENDING}"


def parse(content: bytes, instance: str) -> InstanceRecord:
    """What the record of an instance says.

    Raises:
        PreconditionMissing: It is damaged.
    """
    with intact(path(instance)):
        fields = {key: value for key, value in json.loads(content).items() if key != "format"}
        return InstanceRecord(**{**fields, "revision": Revision.from_json(fields["revision"])})


def read_all(store: ControlStore) -> dict[str, InstanceRecord]:
    """Every record by instance id; two round trips."""
    names = listed(store)
    contents = store.read(*map(path, names)) if names else {}
    return {name: parse(content, name) for name in names if (content := contents[path(name)]) is not None}


def listed(store: ControlStore) -> list[str]:
    """Ids of the instances that have a record."""
    return [name.removesuffix(ENDING) for name in store.list(DIRECTORY)[DIRECTORY] if name.endswith(ENDING)]
