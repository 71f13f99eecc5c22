import hashlib
import json
from typing import Any

import pytest

from dcops.agent.toggles import LiveToggles, Schema, ToggleError, canonical_digest

DEFAULTS = {
    "take_turns": True,
    "api_model": "claude-sonnet-5",
    "max_tokens": 64000,
    "use_extended_output": True,
    "use_streaming_thinking": True,
    "thinking_budget": 32768,
    "enable_tool_thinking": True,
    "tool_thinking_budget": 2000,
    "use_unified_streaming": True,
    "use_streaming_bash": True,
    "use_streaming_file": True,
    "use_streaming_screenshot": True,
    "enable_tool_buffer": True,
    "eager_tools": "confirmed",
    "enable_buffer_delay": False,
    "buffer_delay_ms": 1000,
    "max_parallel_tools": 8,
    "output_interval_ms": 50,
    "use_response_chunking": True,
    "use_xml_prompts": False,
    "enforce_construction_prefix": False,
    "use_prompt_caching": True,
    "use_token_efficient_tools": False,
    "max_requests_per_turn": 50,
    "max_turn_seconds": 3600,
    "max_output_tokens_per_turn": 0,
    "daily_token_budget": 0,
    "stall_seconds": 90,
    "debug_logging": False,
}
THOUGHTLESS = {"use_streaming_thinking": False, "enable_tool_thinking": False}


def document(values: Any, generation: Any = 1, **other: Any) -> bytes:
    whole = {"generation": generation, "digest": canonical_digest(values), "values": values}
    return json.dumps(whole | other).encode()


def test_the_schema_declares_these_toggles_with_owner_and_time() -> None:
    properties = Schema.load().properties
    assert {name: p["default"] for name, p in properties.items()} == DEFAULTS
    for declaration in properties.values():
        assert declaration["description"]
        assert declaration["x-owner"]
        assert declaration["x-applies"] in {"live", "next-turn"}
    assert [name for name, declared in properties.items() if declared.get("x-master")] == ["take_turns"]


def test_defaults_pass_their_own_schema() -> None:
    assert Schema.load().check(DEFAULTS) == DEFAULTS


def test_missing_values_get_defaults() -> None:
    toggles = LiveToggles()
    toggles.offer(document({"max_tokens": 40000}, generation=7))
    assert toggles.error is None
    assert toggles.current.generation == 7
    assert toggles.current.digest == canonical_digest({"max_tokens": 40000})
    assert toggles.current.values == DEFAULTS | {"max_tokens": 40000}


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"thinking_budget": 1023}, "thinking_budget"),
        ({"thinking_budget": 128000}, "thinking_budget"),
        ({"thinking_budget": True}, "thinking_budget"),
        ({"thinking_budget": "4096"}, "thinking_budget"),
        ({"use_streaming_bash": 1}, "use_streaming_bash"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"api_model": "Claude"}, "api_model"),
        ({"api_model": ""}, "api_model"),
        ({"api_model": "claude\n"}, "api_model"),
        ({"max_tokens": 50000.0}, "max_tokens"),
        ({"max_tokens": 32768}, "thinking_budget: must be less than max_tokens, which is 32768"),
        ({"use_streaming_thinking": False, "enable_tool_thinking": True}, "enable_tool_thinking: needs"),
        (
            {"enable_tool_buffer": False, "enable_buffer_delay": True},
            "needs enable_tool_buffer, which is off",
        ),
        ({"enforce_construction_prefix": True}, "enforce_construction_prefix: needs use_xml_prompts"),
        ({"no_such_toggle": True}, "no_such_toggle"),
    ],
)
def test_bad_values_are_refused_by_name(values: dict[str, Any], named: str) -> None:
    with pytest.raises(ToggleError, match=named):
        Schema.load().check(values)


def test_what_has_no_effect_is_no_fault_and_off() -> None:
    values = Schema.load().complete({"use_streaming_thinking": False, "max_tokens": 16})
    assert values == DEFAULTS | THOUGHTLESS | {"max_tokens": 16}


@pytest.mark.parametrize(
    ("own", "environment", "named"),
    [
        ({"max_tokens": 32768}, {}, "thinking_budget: must be less than max_tokens"),
        ({"thinking_budget": 50000}, {"max_tokens": 40000}, "thinking_budget: must be less"),
        ({"enable_tool_thinking": True}, {"use_streaming_thinking": False}, "needs use_streaming_thinking"),
        ({"take_turns": True}, {"take_turns": False}, "take_turns: only the environment"),
        ({"debug_logging": True}, {}, "debug_logging: only the environment"),
        ({"no_such": 1}, {}, "no_such"),
        (["max_tokens"], {}, "values"),
    ],
)
def test_a_sessions_own_values_are_held_against_the_environments(
    own: Any, environment: dict[str, Any], named: str
) -> None:
    schema = Schema.load()
    with pytest.raises(ToggleError, match=named):
        schema.check_own(own, schema.complete(environment))


def test_a_session_is_not_blamed_for_what_others_need() -> None:
    schema = Schema.load()
    explicit = schema.complete({"enable_tool_thinking": True})
    assert schema.check_own({"use_streaming_thinking": False}, explicit) == {"use_streaming_thinking": False}


def test_what_a_session_set_never_breaks_its_turns_later() -> None:
    """The environment, or the release, may have changed since the session's values were checked."""
    toggles = LiveToggles()
    toggles.offer(document({"use_streaming_thinking": False, "max_tokens": 2048}))
    own = {"enable_tool_thinking": True, "thinking_budget": 50000, "gone": 1, "stall_seconds": "long"}
    assert toggles.current is not None
    kept = {"max_tokens": 2048, "thinking_budget": 50000}
    assert toggles.current.over(own) == DEFAULTS | THOUGHTLESS | kept


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
        (b"[" * 100_000, "not JSON"),
        (document({})[:-1], "not JSON"),
        (document({}, generation=10**30), "generation"),
        (document({}, digest=None), "digest"),
        (document(None), "object"),
        (document({"max_tokens": 10**30}), "max_tokens"),
        (document({"of_a_newer_release": True, "max_tokens": 40_000}), "of_a_newer_release"),
        (document({"debug_logging": "x" * 10**6}), "is not of type 'boolean'"),
        (document({"max_tokens": 1024}), "must be less than max_tokens"),
        (document({"enforce_construction_prefix": True}), "needs use_xml_prompts"),
    ],
)
def test_a_bad_document_keeps_the_last_good_values_and_says_why(bad: bytes | None, error: str) -> None:
    toggles = LiveToggles()
    toggles.offer(document({"max_tokens": 50000}))
    good = toggles.current
    toggles.offer(bad)
    assert toggles.current is good
    assert error in toggles.error
    assert len(toggles.error) < 1000
    toggles.offer(document({"max_tokens": 60000}, generation=2))
    assert toggles.error is None
    assert toggles.current.values["max_tokens"] == 60000


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
    toggles.offer_values(b'{"max_tokens": 70000}')
    assert (toggles.current.generation, toggles.current.values["max_tokens"]) == (1, 70000)
    toggles.offer_values(b'{"max_tokens": -7}')
    assert toggles.current.values["max_tokens"] == 70000
    assert "max_tokens" in toggles.error
    toggles.offer_values(b"{}")
    assert (toggles.current.generation, toggles.current.values) == (2, DEFAULTS)
