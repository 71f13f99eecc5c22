import hashlib
import json
from typing import Any

import pytest

from dcops.agent.toggles import LiveToggles, Schema, ToggleError, canonical_digest

DEFAULTS = {
    "use_streaming_bash": True,
    "use_streaming_thinking": True,
    "thinking_budget": 32768,
    "api_model": "claude-sonnet-5",
    "max_tokens": 64000,
    "debug_logging": False,
}


def document(values: Any, generation: Any = 1, **other: Any) -> bytes:
    whole = {"generation": generation, "digest": canonical_digest(values), "values": values}
    return json.dumps(whole | other).encode()


def test_the_schema_declares_these_toggles_with_owner_and_time() -> None:
    properties = Schema.load().properties
    assert {name: p["default"] for name, p in properties.items()} == DEFAULTS
    for declaration in properties.values():
        assert declaration["description"]
        assert declaration["x-owner"]
        assert declaration["x-applies"] in {"live", "next-turn", "next-session"}


def test_defaults_pass_their_own_schema() -> None:
    assert Schema.load().check(DEFAULTS) == DEFAULTS


def test_missing_values_get_defaults() -> None:
    toggles = LiveToggles()
    toggles.offer(document({"max_tokens": 5}, generation=7))
    assert toggles.error is None
    assert toggles.current.generation == 7
    assert toggles.current.digest == canonical_digest({"max_tokens": 5})
    assert toggles.current.values == DEFAULTS | {"max_tokens": 5}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"thinking_budget": 1023}, "thinking_budget"),
        ({"thinking_budget": 128001}, "thinking_budget"),
        ({"thinking_budget": True}, "thinking_budget"),
        ({"thinking_budget": "4096"}, "thinking_budget"),
        ({"use_streaming_bash": 1}, "use_streaming_bash"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"api_model": "Claude"}, "api_model"),
        ({"api_model": ""}, "api_model"),
        ({"no_such_toggle": True}, "no_such_toggle"),
    ],
)
def test_bad_values_are_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ToggleError, match=named):
        Schema.load().check(values)


def test_whole_floats_become_integers() -> None:
    assert repr(Schema.load().check({"max_tokens": 2048.0})) == "{'max_tokens': 2048}"


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (None, "missing"),
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"{}", "exactly the keys"),
        (document({}, surplus=1), "exactly the keys"),
        (document({}, generation=-1), "generation"),
        (document({}, generation=True), "generation"),
        (document({}, digest="0" * 64), "digest"),
        (document({"unknown": 1}), "unknown"),
        (document([]), "object"),
    ],
)
def test_a_bad_document_keeps_the_last_good_values_and_says_why(bad: bytes | None, error: str) -> None:
    toggles = LiveToggles()
    toggles.offer(document({"max_tokens": 5}))
    good = toggles.current
    toggles.offer(bad)
    assert toggles.current is good
    assert error in toggles.error
    toggles.offer(document({"max_tokens": 6}, generation=2))
    assert toggles.error is None
    assert toggles.current.values["max_tokens"] == 6


def test_nothing_is_in_force_before_the_first_good_document() -> None:
    toggles = LiveToggles()
    assert toggles.error
    toggles.offer(b"nonsense")
    assert toggles.current is None


def test_the_digest_is_that_of_canonical_json() -> None:
    text = '{"a":"é","b":1}'
    assert canonical_digest({"b": 1, "a": "é"}) == hashlib.sha256(text.encode()).hexdigest()


def test_plain_values_are_numbered_by_change() -> None:
    toggles = LiveToggles()
    toggles.offer_values(b'{"max_tokens": 7}')
    assert (toggles.current.generation, toggles.current.values["max_tokens"]) == (1, 7)
    toggles.offer_values(b'{"max_tokens": -7}')
    assert toggles.current.values["max_tokens"] == 7
    assert "max_tokens" in toggles.error
    toggles.offer_values(b"{}")
    assert (toggles.current.generation, toggles.current.values) == (2, DEFAULTS)
