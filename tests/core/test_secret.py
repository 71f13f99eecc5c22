from __future__ import annotations

import copy
import json
import pickle
import traceback
from dataclasses import dataclass

import pytest

from dcops.core.secret import Secret, redacted

KEY = "sk-planted-0123456789"
TOKEN = "0123456789abcdef" * 4


@dataclass
class Holder:
    key: Secret


def test_no_way_of_showing_it_shows_it() -> None:
    secret = Secret(KEY.encode())
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", "%s" % secret, repr([secret])]  # noqa: UP031
    shown += [repr(Holder(secret)), json.dumps({"key": secret}, default=str)]
    assert all("***" in each and KEY not in each for each in shown)
    assert secret.reveal() == KEY.encode()


@pytest.mark.parametrize("write", [json.dumps, pickle.dumps, copy.deepcopy])
def test_it_is_not_written_down(write: object) -> None:
    with pytest.raises(TypeError):
        write(Secret(KEY.encode()))  # type: ignore[operator]


def test_a_traceback_with_every_local_does_not_show_it() -> None:
    def fail(secret: Secret) -> None:
        raise RuntimeError(secret)

    with pytest.raises(RuntimeError) as caught:
        fail(Secret(KEY.encode()))
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "secret = ***" in shown
    assert KEY not in shown


def test_text_is_shown_without_secrets_wherever_they_stand() -> None:
    text = f"key={KEY}; at /gateway/api/{TOKEN}x and sk-ant-api03-zZ_9 end"
    assert redacted(text, [Secret(KEY.encode())]) == "key=***; at /gateway/api/***x and *** end"


def test_what_is_public_stays() -> None:
    assert redacted(f"deployed {TOKEN}", public=[TOKEN]) == f"deployed {TOKEN}"
