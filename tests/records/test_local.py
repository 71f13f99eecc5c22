from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from dcops.errors import PreconditionMissing
from dcops.records.local import EngineChoice, LocalState

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("content", [b"", b"\n", b'{"x', b"\xff\xfe\n"])
def test_an_empty_or_torn_token_is_replaced_by_one_that_nobody_can_guess(
    tmp_path: Path, content: bytes
) -> None:
    local = LocalState(tmp_path)
    local.token_file.write_bytes(content)
    token = local.token()
    assert len(token) == 43
    assert local.token() == token == local.token_file.read_text().strip()
    assert local.token_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b'{"format": 1, "x', b"[]", b"null", b"\xff", b'{"format": 1}'])
def test_a_damaged_choice_is_named_with_what_to_do(tmp_path: Path, content: bytes) -> None:
    local = LocalState(tmp_path / "dev")
    assert local.choice() is None
    local.decide(EngineChoice("process", 80, "asked for"))
    assert local.choice() == EngineChoice("process", 80, "asked for")
    (tmp_path / "dev" / "choice.json").write_bytes(content)
    with pytest.raises(PreconditionMissing) as caught:
        local.choice()
    assert caught.value.code == "DC-STATE-DAMAGED"
    assert str(tmp_path) in caught.value.what
    assert "dcops deploy dev" in caught.value.do
