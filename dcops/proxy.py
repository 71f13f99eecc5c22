"""The one static configuration of an environment's proxy, as Caddy's JSON.

It never changes for a deployment: what does change (pointer, operators' secrets, gateway tokens) are files
that it reads at each request. Caddy evaluates the matchers of one set in no certain order, so whatever uses
what a regular expression captured stands in a route inside the one that matched it.

With a domain it also serves HTTPS for exactly that name, and gets and renews the certificate by itself;
without one nothing is automatic.

`flush_interval` is left alone on purpose: replies without a length are flushed at once anyway, and of -1
Caddy says that it lets a request to the model go on after its client has gone.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from dcops.core.protocols import Https, ProxyLayout

Json = dict[str, Any]

INSTANCE_HEADER = "X-Dcops-Instance"
SECRET_HEADER = "Proxy-Authorization"  # noqa: S105 - redacted in Caddy's logs, and passed to nobody
INSTANCE_ID = "^[a-z0-9][a-z0-9-]{0,30}$"
SECRET = "^[0-9a-f]{64}$"  # noqa: S105 - the shape of one

# Shorter than the idle time of any server behind it: a connection that the server closes
# in the moment of its reuse costs a POST.
IDLE = "2s"


def configuration(
    layout: ProxyLayout, *, api_url: str, https: Https | None = None, grace_seconds: float = 1.0
) -> bytes:
    """The same bytes for the same arguments; holds no secret.

    Args:
        layout: Where things lie, seen from the proxy.
        api_url: The real model's API, ``https://api.anthropic.com``.
        https: How a domain is served beside the plain listener; None when there is none.
        grace_seconds: How long open requests may go on after the proxy was told to stop; open streams always
            take all of it, and meanwhile nobody is let in.
    """
    servers = {
        "public": _server(layout.listen, _public_routes(layout), _PUBLIC_FAILURE),
        # So that what users asked for can be told from what instances ask the model.
        "gateway": _server(layout.gateway_listen, _gateway_routes(layout, api_url), _GATEWAY_FAILURE)
        | {"logs": {"default_logger_name": "gateway"}},
    }
    apps: Json = {"http": {"grace_period": f"{grace_seconds:g}s", "servers": servers}}
    if https is not None:
        servers |= _domain_servers(layout, https)
        apps |= _certificates(layout, https)
    document = {
        "admin": {"disabled": True, "config": {"persist": False}},
        "logging": _logging(layout.log),
        "storage": {"module": "file_system", "root": layout.data},
        "apps": apps,
    }
    return json.dumps(document, indent=1, sort_keys=True).encode()


def knows_maintenance(document: bytes) -> bool:
    """Whether a configuration looks at the flag of maintenance; those of earlier versions do not."""
    return b"/maintenance}" in document


def _server(listen: str, routes: list[Json], failure: str) -> Json:
    return {
        "listen": [listen],
        "protocols": ["h1"],
        "automatic_https": {"disable": True},
        "read_header_timeout": "30s",
        "logs": {},
        "routes": routes,
        "errors": {"routes": [{"handle": [_answer("{http.error.status_code}", failure)]}]},
    }


def _domain_servers(layout: ProxyLayout, https: Https) -> Json:
    """HTTPS for exactly one name, and plain HTTP that leads to it."""
    named = {"host": [https.domain]}
    stranger = _route(_answer("421", _error("DC-HOST-UNKNOWN", f"only {https.domain} is served here")))
    secure = [_route(_routes(*_public_routes(layout)), match=named), stranger]
    servers = {
        "https": _server(layout.https_listen, secure, _PUBLIC_FAILURE)
        | {"protocols": ["h1", "h2"], "tls_connection_policies": [{"match": {"sni": [https.domain]}}]}
    }
    if https.redirect:
        to = f"{https.url}{_URI}"
        moved = {"handler": "static_response", "status_code": "308", "headers": {"Location": [to]}}
        routes = [_route(moved, match=named), stranger]
        servers["redirect"] = _server(layout.redirect_listen, routes, _PUBLIC_FAILURE)
        servers["redirect"] |= {"logs": {"default_logger_name": "redirect"}}
    return servers


def _certificates(layout: ProxyLayout, https: Https) -> Json:
    policy = {"subjects": [https.domain], "issuers": [_issuer(layout, https)]}
    tls = {"certificates": {"automate": [https.domain]}, "automation": {"policies": [policy]}}
    # The machine's own list of trusted authorities is none of ours to change.
    own = {"certificate_authorities": {"local": {"install_trust": False}}}
    return {"tls": tls, "pki": own}


def _issuer(layout: ProxyLayout, https: Https) -> Json:
    if https.issuer == "internal":
        return {"module": "internal"}
    # The authority asks at 80 and 443; these are where that arrives in the end.
    by_http = {"alternate_port": _port(layout.redirect_listen)} if https.redirect else {"disabled": True}
    challenges = {"http": by_http, "tls-alpn": {"alternate_port": _port(layout.https_listen)}}
    return {"module": "acme", "challenges": challenges} | ({"email": https.email} if https.email else {})


def _port(listen: str) -> int:
    return int(listen.rpartition(":")[2])


def _logging(file: str) -> Json:
    # Error entries hold the request as well, so no logger may write headers.
    encoder = {
        "format": "filter",
        "wrap": {"format": "json"},
        "fields": {"request>headers": {"filter": "delete"}, "resp_headers": {"filter": "delete"}},
    }
    rotated = {"output": "file", "filename": file, "mode": "0600", "roll_size_mb": 10, "roll_keep": 5}
    access = rotated if file else {"output": "stderr"}
    return {
        "logs": {
            "default": {"encoder": encoder, "exclude": ["http.log.access"]},
            "access": {"encoder": encoder, "include": ["http.log.access"], "writer": access},
        }
    }


def _public_routes(layout: ProxyLayout) -> list[Json]:
    named = {
        INSTANCE_HEADER: {"name": "instance", "pattern": INSTANCE_ID},
        SECRET_HEADER: {"name": "secret", "pattern": SECRET},
    }
    known = _file(f"{layout.control}/operator", "/{http.regexp.instance.0}/{http.regexp.secret.0}")
    to_instance = _proxy(
        layout.instance_dial.replace("{id}", "{http.regexp.instance.0}"),
        headers={"delete": [INSTANCE_HEADER, SECRET_HEADER]},
    )
    # What dcops asks stays out of the access log, which tells what users met.
    unlogged = {"handler": "vars", "log_skip": True}
    return [
        _route(
            _routes(
                _route(_routes(_route(unlogged, to_instance, match=known)), match={"header_regexp": named}),
                _route(_answer("404", _error("DC-INSTANCE-UNKNOWN", "no such instance, or not for you"))),
            ),
            match={"header": {INSTANCE_HEADER: ["*"]}},
        ),
        _maintenance(layout),
        _route(_proxy(_content(f"{layout.control}/current"))),
    ]


def _maintenance(layout: ProxyLayout) -> Json:
    """While the flag is there only the probes pass; what it holds are the seconds that clients shall wait."""
    # Logged under a name of its own: it says nothing of how the agent does.
    named = {"handler": "vars", "access_logger_names": ["maintenance"]}
    wait = {"Retry-After": [_content(f"{layout.control}/maintenance")]}
    page = _answer("503", _MAINTENANCE_PAGE) | {
        "headers": {"Content-Type": ["text/html; charset=utf-8"], "Cache-Control": ["no-store"]} | wait
    }
    told = _answer("503", _error("DC-MAINTENANCE", "under maintenance; Retry-After says when to come back"))
    told["headers"] |= wait
    closed = _file(layout.control, "/maintenance") | {"not": [{"path": ["/healthz", "/readyz"]}]}
    browser = {"header": {"Accept": ["*text/html*"]}}
    return _route(named, _routes(_route(page, match=browser), _route(told)), match=closed)


def _gateway_routes(layout: ProxyLayout, api_url: str) -> list[Json]:
    by_token = _routes(*(_by_token(layout, api_url, header, prefix) for header, prefix in _CREDENTIALS))
    refused = _api_error("authentication_error", "This gateway token is unknown.")
    permitted = _routes(_route(by_token), _route(_answer("401", refused)))
    missing = _api_error("not_found_error", "The gateway passes messages, count_tokens and models only.")
    messages, models = r"/v1/messages(/count_tokens)?", r"/v1/models(/[A-Za-z0-9][A-Za-z0-9._-]*)?"
    return [
        _route(permitted, match=_exactly("POST", messages)),
        _route(permitted, match=_exactly("GET", models)),
        _route(_answer("404", missing)),
    ]


def _by_token(layout: ProxyLayout, api_url: str, header: str, prefix: str) -> Json:
    """The route of callers that show their gateway token in this header."""
    api = _api(api_url, header, prefix + _content(layout.secret))
    scripted = _proxy(_content(f"{layout.control}/model"))
    known = _routes(
        _route(api, match=_file(f"{layout.control}/gateway/api", _TOKEN)),
        _route(scripted, match=_file(f"{layout.control}/gateway/scripted", _TOKEN)),
    )
    shown = {"header_regexp": {header: {"name": "token", "pattern": f"^{prefix}([0-9a-f]{{64}})$"}}}
    return _route(known, match=shown)


def _exactly(method: str, path: str) -> Json:
    # The URI as it will be sent on: the path matchers see a cleaned one, where `..` is gone.
    return {"method": [method], "vars_regexp": {_URI: {"pattern": rf"^{path}(\?.*)?$"}}}


# Clients of the Messages API show their key in the one or the other; each is passed on as it came.
_CREDENTIALS = (("X-Api-Key", ""), ("Authorization", "Bearer "))
_TOKEN = "/{http.regexp.token.1}"  # noqa: S105 - a placeholder
_URI = "{http.request.uri}"


def _api(url: str, header: str, credential: str) -> Json:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    port = parts.port or (443 if secure else 80)
    others = [name for name, _prefix in _CREDENTIALS if name != header]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    handler = _proxy(
        f"{host}:{port}",
        headers={
            "set": {"Host": [parts.netloc], header: [credential]},
            "delete": [*others, "Cookie", "Via", "X-Forwarded-*"],
        },
    )
    del handler["transport"]["network_proxy"]  # the way out may lead over a proxy that the host names
    if secure:
        handler["transport"]["tls"] = {}
    if parts.path.strip("/"):
        handler["rewrite"] = {"uri": f"{parts.path.rstrip('/')}{_URI}"}
    return handler


def _proxy(dial: str, *, headers: Json | None = None) -> Json:
    # No retries: one that follows a sent request could run a turn twice.
    return {
        "handler": "reverse_proxy",
        "upstreams": [{"dial": dial}],
        "headers": {"request": headers or {}},
        "transport": {
            "protocol": "http",
            "dial_timeout": "5s",
            "keep_alive": {"idle_timeout": IDLE},
            "compression": False,  # what the client did not ask for would hold up a stream
            "network_proxy": {"from": "none"},
        },
    }


def _content(path: str) -> str:
    return f"{{file.{path}}}"


def _file(root: str, name: str) -> Json:
    return {"file": {"root": root, "try_files": [name]}}


def _routes(*routes: Json) -> Json:
    return {"handler": "subroute", "routes": list(routes)}


def _route(*handlers: Json, match: Json | None = None) -> Json:
    return {"handle": [*handlers]} | ({} if match is None else {"match": [match]})


def _answer(status: str, body: str) -> Json:
    headers = {"Content-Type": ["application/json"], "Cache-Control": ["no-store"]}
    return {"handler": "static_response", "status_code": status, "headers": headers, "body": body}


def _error(code: str, message: str) -> str:
    return json.dumps({"error": {"code": code, "message": message}})


def _api_error(kind: str, message: str) -> str:
    """An error as the Messages API words it, so that its clients show the message."""
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}})


_PUBLIC_FAILURE = _error("DC-NO-INSTANCE", "nothing serves here at the moment; `dcops status` says why")
_GATEWAY_FAILURE = _api_error("api_error", "The gateway could not reach the model.")
_MAINTENANCE_PAGE = """\
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Under maintenance</title>
<body style="font: 1.1em/1.5 system-ui; max-width: 30em; margin: 20vh auto; padding: 0 1em">
<h1>Under maintenance</h1>
<p>The agent will be back soon. Reload this page in a few minutes.</p>
</html>
"""
