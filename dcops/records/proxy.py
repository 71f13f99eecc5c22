"""How the proxy of an environment was last started: enough to start it so again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from dcops.core.protocols import Https, ProxySpec
from dcops.records.intact import intact

if TYPE_CHECKING:
    from collections.abc import Mapping

PATH = "records/proxy.json"


@dataclass(frozen=True, slots=True)
class ProxyRecord:
    """A proxy as it was started.

    Attributes:
        settings: What ``environment.yaml`` said of it, by key; empty when an earlier version started it.
    """

    spec: ProxySpec
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def public_url(self) -> str:
        """Where the domain is served; empty without one."""
        return self.spec.https.url if self.spec.https else ""

    def dump(self) -> bytes:
        return json.dumps({**asdict(self.spec), "settings": dict(self.settings)}, sort_keys=True).encode()


def parse(content: bytes | None) -> ProxyRecord | None:
    """What ``dump`` has written; None when the proxy was never started."""
    if not content:
        return None
    with intact(PATH):
        document = json.loads(content)
        settings, https = document.pop("settings", {}), document.pop("https", None)
        return ProxyRecord(ProxySpec(**document, https=Https(**https) if https else None), settings)
