"""The candidate that failed last: kept stopped until the next deploy, so that somebody can look at it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from dcops.records.intact import intact

FORMAT = 1
PATH = "records/failed.json"


@dataclass(frozen=True, slots=True)
class FailedCandidate:
    """An instance that did not come into service, or not for long.

    Attributes:
        instance: Its id; the engine has it stopped, and it holds no token any more.
        release: Release id.
        at: Seconds since the epoch.
        step: Id of the step that failed.
        error: What that step said.
        probe: What it last answered to each probe: ``passed``, or what was wrong.
        log: Its last lines.
    """

    instance: str
    release: str
    at: float
    step: str
    error: str
    probe: dict[str, str] = field(default_factory=dict)
    log: tuple[str, ...] = ()

    def content(self) -> bytes:
        return json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True).encode()


def parse(content: bytes | None) -> FailedCandidate | None:
    """What the record says; None when there is none, or a newer dcops wrote it."""
    if content is None:
        return None
    with intact(PATH):
        fields = json.loads(content)
        if fields.pop("format") > FORMAT:
            return None
        return FailedCandidate(**{**fields, "log": tuple(fields["log"])})
