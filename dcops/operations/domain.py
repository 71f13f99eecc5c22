"""Whether the world can come by a domain: its name leads here, and its ports may be used."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from dcops.core.protocols import Finding
from dcops.engines.ports import require_permitted
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from dcops.core.environment import Environment
    from dcops.core.protocols import Https
    from dcops.operations.current import Current
    from dcops.operations.world import Place


def require_domain(place: Place, current: Current) -> None:
    """Refuse a new domain that cannot work, before anything is built or started.

    Raises:
        PreconditionMissing: Its name leads nowhere and a public authority would have to ask there, or this
            user may not use its ports.
    """
    https = place.environment.https
    if https is None or (current.proxied is not None and current.proxied.spec.https == https):
        return
    if https.issuer == "acme" and not _addresses(https.domain):
        raise _unresolved(https)
    if place.choice.engine == "process":
        for port in filter(None, (https.port, https.redirect)):
            require_permitted(https.bind, port)


def domain_findings(environment: Environment) -> list[Finding]:
    """What ``doctor`` says of a domain; nothing without one."""
    https, check = environment.https, f"{environment.name}: domain"
    if https is None:
        return []
    found = _addresses(https.domain)
    if not found:
        error = _unresolved(https)
        data = {"code": error.code}
        return [Finding(check, "fail" if https.issuer == "acme" else "warn", error.what, error.do, data)]
    named = ", ".join(found)
    if not any(map(_is_ours, found)):
        detail = f"{https.domain} is {named}, which is no address of this host"
        fix = "right behind a router, or with Docker on another host; else correct its A and AAAA records"
        return [Finding(check, "warn", detail, fix)]
    return [Finding(check, "ok", f"{https.domain} is {named}")]


def _addresses(domain: str) -> list[str]:
    try:
        found = socket.getaddrinfo(domain, None, type=socket.SOCK_STREAM)
    except OSError:
        return []
    return sorted({str(each[4][0]) for each in found})


def _is_ours(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _unresolved(https: Https) -> PreconditionMissing:
    return PreconditionMissing(
        "DC-DOMAIN-DNS",
        f"the domain {https.domain} leads to no address",
        why="a public authority gives a certificate only for a name that leads here",
        do=f"make an A or AAAA record for {https.domain}, or take https: {{issuer: internal}} until then",
        domain=https.domain,
    )
