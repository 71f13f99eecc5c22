"""Which model an instance talks to, with whose key, and when the scripted one runs."""

from __future__ import annotations

import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from dcops.errors import OperationFailed, PreconditionMissing
from dcops.operations.lifecycle import down, restart
from dcops.operations.rollback import RollbackRequest, rollback
from dcops.operations.verify import VerifyRequest, verify

from .conftest import agree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .conftest import Site

pytestmark = pytest.mark.slow


@pytest.fixture
def api() -> Iterator[tuple[str, list[str]]]:
    """A stand-in for the API: its address, and the keys that it was shown."""
    keys: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys.append(self.headers["X-Api-Key"])
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", keys
        server.shutdown()
        thread.join()


@pytest.fixture
def live(site: Site, api: tuple[str, list[str]]) -> Site:
    """An environment with a real model."""
    (site.root / "key").write_text("sk-one\n")
    real = f"model: api\nkey: file:key\napi_url: {api[0]}\nisolation: none"
    site.setting("model: scripted", real)
    return site


def ask(site: Site) -> int:
    """As the serving instance asks its gateway."""
    current = site.look()
    assert current.record is not None
    port = site.world.open("dev").engine._places.gateway_port  # type: ignore[attr-defined]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/models", headers={"X-Api-Key": current.record.gateway_token}
    )
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_scripted_model_runs_beside_a_real_one_only_to_verify(live: Site) -> None:
    live.deploy()
    assert (live.look().model, live.leftovers()) == ("", [])
    assert {state.role for state in live.look().instances.values()} == {"candidate"}
    assert verify(live.world, VerifyRequest("dev")).verdict == "pass"
    assert (live.look().model, live.leftovers()) == ("", [])


def test_it_ends_also_when_the_verification_fails(live: Site) -> None:
    main = live.root / "little" / "__main__.py"
    text = main.read_text()
    main.write_text(text.replace('"release": RELEASE, "implementation"', '"release": "x", "implementation"'))
    with pytest.raises(OperationFailed):
        live.deploy()
    current = live.look()
    assert not any(current.runs(name) for name in current.instances), "the failed candidate is kept, stopped"
    main.write_text(text)
    live.deploy()
    assert live.get()["greeting"] == "hello"


def test_a_changed_key_is_used_from_the_next_deploy_on(live: Site, api: tuple[str, list[str]]) -> None:
    live.deploy()
    assert ask(live) == 200
    (live.root / "key").write_text("sk-two\n")
    assert live.deploy().result == "unchanged"
    assert ask(live) == 200
    assert list(dict.fromkeys(api[1])) == ["sk-one", "sk-two"]


def test_a_change_to_the_real_model_brings_the_key_and_a_rollback_the_script(
    site: Site, api: tuple[str, list[str]]
) -> None:
    site.setting("model: scripted", f"model: scripted\napi_url: {api[0]}")
    site.deploy()
    (site.root / "key").write_text("sk-one\n")
    site.setting("model: scripted", "model: api\nkey: file:key\nisolation: none")
    site.deploy()
    assert (ask(site), set(api[1])) == (200, {"sk-one"})
    site.world.open("dev").engine.stop(site.look().with_role("warm")[0])
    rollback(site.world, RollbackRequest("dev"), agree)
    assert (ask(site), set(api[1])) == (200, {"sk-one"})
    current = site.look()
    assert current.runs(current.model)


def test_a_restart_and_a_rollback_need_no_key_of_the_operators(
    live: Site, api: tuple[str, list[str]]
) -> None:
    live.deploy()
    live.edit("X = 1")
    live.deploy()
    (live.root / "key").unlink()
    restart(live.world, "dev", agree)
    rollback(live.world, RollbackRequest("dev"), agree)
    assert (ask(live), set(api[1])) == (200, {"sk-one"})
    live.edit("X = 2")
    with pytest.raises(PreconditionMissing) as caught:
        live.deploy()
    assert caught.value.code == "DC-KEY-MISSING"


def test_down_removes_the_key(live: Site) -> None:
    live.deploy()
    assert (live.root / ".dcops/dev/secrets/api-key").stat().st_mode & 0o077 == 0
    down(live.world, "dev")
    assert not (live.root / ".dcops/dev/secrets").exists()


def test_a_real_model_needs_isolation_also_where_a_scripted_one_served(site: Site) -> None:
    site.deploy()
    (site.root / "key").write_text("sk-one\n")
    site.setting("model: scripted", "model: api\nkey: file:key")
    with pytest.raises(PreconditionMissing) as caught:
        site.deploy()
    assert caught.value.code == "DC-ISOLATION"


def test_a_deploy_starts_the_scripted_model_again_when_it_is_gone(site: Site) -> None:
    site.deploy()
    site.world.open("dev").engine.stop(site.look().model)
    assert site.deploy().result == "deployed"
    current = site.look()
    assert current.runs(current.model)
    assert ask(site) == 200
