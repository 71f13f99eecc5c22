from __future__ import annotations

import json
import os
import signal
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest

from dcops.operations.lifecycle import down, start, stop
from dcops.operations.resume import abort, resume
from dcops.operations.token import rotate
from dcops.records.access import sha256
from dcops.records.rotation import Rotation

from .conftest import break_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Site

pytestmark = pytest.mark.slow


def status_of(site: Site, token: str) -> int:
    """What somebody with this token is answered."""
    headers = {"Authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"{site.world.open('dev').url}/version", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def token(site: Site) -> str:
    return site.world.open("dev").local.token()


def files(site: Site) -> list[str]:
    return sorted(each.name for each in (site.root / ".dcops" / "dev").glob("token*"))


def test_the_old_token_is_let_in_for_the_grace_time(site: Site) -> None:
    site.deploy()
    old, serving = token(site), site.look().serving
    report = rotate(site.world, "dev", grace=3.0, reason="as every month")
    assert token(site) != old
    assert report.until > time.time()
    assert (status_of(site, old), status_of(site, token(site))) == (200, 200)
    deadline = time.monotonic() + 10
    while status_of(site, old) != 401:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert status_of(site, token(site)) == 200
    assert files(site) == ["token"]
    assert (site.root / ".dcops" / "dev" / "token").stat().st_mode & 0o777 == 0o600
    assert site.look().serving == serving
    entry = site.look().entries[-1]
    assert (entry.kind, entry.result, entry.reason) == ("token", "ok", "as every month")
    assert old not in json.dumps(entry.to_json())
    assert token(site) not in json.dumps(entry.to_json())


def test_without_grace_it_ends_at_once(site: Site) -> None:
    site.deploy()
    old = token(site)
    rotate(site.world, "dev", grace=0.0)
    assert (status_of(site, old), status_of(site, token(site))) == (401, 200)


def test_other_machines_keep_theirs_unless_all_are_ended(site: Site) -> None:
    site.deploy()
    place = site.world.open("dev")
    place.admit("of another machine")
    rotate(site.world, "dev", grace=0.0)
    assert status_of(site, "of another machine") == 200
    rotate(site.world, "dev", grace=0.0, every=True)
    assert status_of(site, "of another machine") == 401
    assert status_of(site, token(site)) == 200


def test_what_is_stopped_lets_in_the_new_token_only_when_it_is_back(site: Site) -> None:
    site.deploy()
    old = token(site)
    stop(site.world, "dev")
    rotate(site.world, "dev", grace=0.0)
    start(site.world, "dev")
    assert (status_of(site, old), status_of(site, token(site))) == (401, 200)


def killed(site: Site, monkeypatch: pytest.MonkeyPatch, break_: Callable[[], None]) -> None:
    """Rotate in a process that is killed where `break_` says."""
    with monkeypatch.context():
        break_()
        child = os.fork()
        if child == 0:
            rotate(site.world, "dev", grace=0.0)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    monkeypatch.undo()


def die(*_arguments: object, **_named: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_killed_anywhere_it_is_finished_or_taken_back_and_one_token_is_always_valid(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy()
    places: list[Callable[[], None]] = [
        lambda: break_step(monkeypatch, "access", die, after=False),
        lambda: monkeypatch.setattr(Rotation, "turn", die),
        lambda: monkeypatch.setattr("dcops.records.access.Access.end", die),
        lambda: break_step(monkeypatch, "access", die, after=True),
        lambda: break_step(monkeypatch, "record", die, after=False),
    ]
    for index, break_ in enumerate(places):
        for finish in (resume, abort):
            old = token(site)
            killed(site, monkeypatch, break_)
            assert status_of(site, token(site)) == 200, index
            finish(site.world, "dev")
            assert status_of(site, token(site)) == 200, (index, finish)
            assert (token(site) == old) == (finish is abort), (index, finish)
            if finish is resume:
                assert status_of(site, old) == 401, index
            assert files(site) == ["token"], (index, finish)
            known = site.world.open("dev").access.tokens()
            assert [each.until for each in known if each.sha256 == sha256(token(site))] == [None]


def test_killed_after_its_record_it_stands(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.deploy()
    old = token(site)
    killed(site, monkeypatch, lambda: break_step(monkeypatch, "record", die, after=True))
    assert abort(site.world, "dev").result == "done"
    assert token(site) != old
    assert (status_of(site, old), status_of(site, token(site))) == (401, 200)
    assert files(site) == ["token"]


def test_down_leaves_no_token(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.deploy()
    killed(site, monkeypatch, lambda: break_step(monkeypatch, "access", die, after=True))
    down(site.world, "dev", with_data=True)
    assert files(site) == []
