from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcops.core import toggles
from dcops.errors import UsageError

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "use_bash": {"type": "boolean", "default": True},
        "budget": {
            "type": "integer",
            "minimum": -5,
            "maximum": 100,
            "default": 50,
            "x-less-than": "max_tokens",
            "description": "How much.",
        },
        "max_tokens": {"type": "integer", "minimum": 1, "default": 90},
        "share": {"type": "number", "minimum": 0, "maximum": 1, "default": 0.5},
        "model": {"type": "string", "pattern": "^[a-z0-9-]+$", "default": "claude"},
        "level": {"enum": ["low", "high"], "default": "low"},
    },
}
FITTING = st.fixed_dictionaries(
    {},
    optional={
        "use_bash": st.booleans(),
        "budget": st.integers(-5, 80),
        "max_tokens": st.integers(90, 1000),
        "share": st.floats(0, 1),
        "model": st.from_regex("[a-z0-9-]+", fullmatch=True),
        "level": st.sampled_from(["low", "high"]),
    },
)


def test_digest_is_over_canonical_json() -> None:
    assert toggles.digest({"b": 1, "a": "ä"}) == toggles.digest({"a": "ä", "b": 1})
    assert toggles.digest({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@given(FITTING)
def test_fitting_values_stay_as_they_are(values: dict[str, object]) -> None:
    assert toggles.validate(values, SCHEMA) == []
    assert toggles.project(values, SCHEMA) == values
    assert toggles.effective(values, SCHEMA) == toggles.defaults(SCHEMA) | values


@pytest.mark.parametrize(
    ("values", "place", "words"),
    [
        ({"use_bash": 1}, "use_bash", "true or false"),
        ({"budget": True}, "budget", "a whole number from -5 to 100"),
        ({"budget": 101}, "budget", "from -5 to 100"),
        ({"budget": 5.0}, "budget", "whole number"),
        ({"model": "Claude 4"}, "model", "[a-z0-9-]"),
        ({"level": "hihg"}, "level", "one of low, high"),
        ({"max_tokens": 50}, "budget", "less than max_tokens, which is 50"),
        ({"budget": 95, "max_tokens": 95}, "budget", "less than max_tokens"),
    ],
)
def test_each_kind_of_fault_is_found(values: dict[str, object], place: str, words: str) -> None:
    [fault] = toggles.validate(values, SCHEMA)
    assert fault.place == place
    assert words in fault.message


def test_an_unknown_toggle_gets_a_suggestion() -> None:
    [fault] = toggles.validate({"use_bsh": True}, SCHEMA)
    assert fault.hint == "did you mean use_bash?"


def test_projection_leaves_out_what_another_schema_does_not_take() -> None:
    older = {"properties": {"budget": {"type": "integer", "maximum": 10, "default": 5}}}
    assert toggles.project({"budget": 50, "use_bash": True}, older) == {}
    assert toggles.project({"budget": 9, "use_bash": True}, older) == {"budget": 9}


def test_projection_leaves_out_what_a_default_does_not_fit() -> None:
    assert toggles.project({"max_tokens": 10}, SCHEMA) == {}
    assert toggles.project({"max_tokens": 10, "budget": 5}, SCHEMA) == {"max_tokens": 10, "budget": 5}


def _switch(default: bool, **rules: str) -> dict[str, object]:
    return {"type": "boolean", "default": default, **rules}


CHAIN = {
    "properties": {
        "think": _switch(True),
        "plan": _switch(True, **{"x-needs": "think"}),
        "draft": _switch(False, **{"x-needs": "plan"}),
        "room": {"type": "integer", "default": 9, "x-needs": "plan", "x-less-than": "most"},
        "most": {"type": "integer", "default": 10},
        "go": _switch(True, **{"x-master": True}),
    }
}


@pytest.mark.parametrize(
    ("values", "place", "needed"),
    [
        ({"think": False, "plan": True}, "plan", "think"),
        ({"plan": False, "draft": True}, "draft", "plan"),
        ({"think": False, "draft": True}, "draft", "plan"),
    ],
)
def test_what_is_on_needs_the_other_to_be_on(values: dict[str, object], place: str, needed: str) -> None:
    [fault] = toggles.validate(values, CHAIN)
    assert (fault.place, fault.message) == (place, f"needs {needed}, which is off")
    assert toggles.invalid([fault]).do == f"turn {needed} on, or leave {place} off"


def test_a_default_without_effect_is_off_and_no_fault() -> None:
    assert toggles.validate({"think": False}, CHAIN) == []
    assert toggles.effective({"think": False}, CHAIN)["plan"] is False
    assert toggles.effective({}, CHAIN)["plan"] is True


def test_a_number_without_effect_is_not_held_against_another() -> None:
    assert [fault.place for fault in toggles.validate({"most": 5}, CHAIN)] == ["room"]
    assert toggles.validate({"most": 5, "think": False}, CHAIN) == []


def test_switching_off_takes_along_what_needs_it() -> None:
    values = {"plan": True, "draft": True, "gone": True}
    off = toggles.switched_off(values, "think", CHAIN)
    assert off == {"plan": False, "draft": False, "gone": True, "think": False}
    assert toggles.switched_off({}, "go", CHAIN) == {"go": False}


def test_the_master_switch_is_the_one_that_is_marked() -> None:
    assert toggles.master(CHAIN) == "go"
    assert toggles.master(SCHEMA) == ""


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("use_bash", "true", True),
        ("use_bash", "OFF", False),
        ("budget", "-5", -5),
        ("budget", "+7", 7),
        ("share", "0.25", 0.25),
        ("share", "1", 1),
        ("model", "claude-sonnet-5", "claude-sonnet-5"),
        ("level", "high", "high"),
    ],
)
def test_command_line_values_are_read_by_their_type(name: str, text: str, value: object) -> None:
    assert toggles.parse(name, text, SCHEMA) == value


@pytest.mark.parametrize(
    ("name", "text", "code", "words"),
    [
        ("budget", "-6", "DC-TOGGLE-RANGE", "a whole number from -5 to 100"),
        ("budget", "5.5", "DC-TOGGLE-TYPE", "a whole number"),
        ("budget", "", "DC-TOGGLE-TYPE", "a whole number"),
        ("budget", "٣", "DC-TOGGLE-TYPE", "a whole number"),
        ("use_bash", "1", "DC-TOGGLE-TYPE", "true or false"),
        ("share", "half", "DC-TOGGLE-TYPE", "a number"),
        ("share", "2", "DC-TOGGLE-RANGE", "a number from 0 to 1"),
        ("share", "NaN", "DC-TOGGLE-TYPE", "a number"),
        ("share", "true", "DC-TOGGLE-TYPE", "a number"),
        ("level", "medium", "DC-TOGGLE-RANGE", "one of low, high"),
        ("usebash", "true", "DC-TOGGLE-UNKNOWN", "nothing was changed"),
    ],
)
def test_a_bad_command_line_value_changes_nothing(name: str, text: str, code: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        toggles.parse(name, text, SCHEMA)
    assert caught.value.code == code
    assert words in caught.value.what
    assert "nothing was changed" in caught.value.what
    assert caught.value.exit_code == 2


def test_a_range_error_names_the_default() -> None:
    with pytest.raises(UsageError) as caught:
        toggles.parse("budget", "1000", SCHEMA)
    assert caught.value.detail["default"] == 50
    assert "50" in caught.value.do


def test_values_that_do_not_fit_together_are_refused_with_what_to_change() -> None:
    error = toggles.invalid(toggles.validate({"max_tokens": 10}, SCHEMA))
    assert error.exit_code == 2
    assert "budget must be less than max_tokens" in error.what
    assert error.do == "lower budget or raise max_tokens"


def test_changes_tell_true_from_one_and_missing_from_null() -> None:
    old, new = {"a": 1, "b": True, "c": 2, "d": None}, {"a": True, "b": True, "e": 3}
    assert [(each.name, each.old, each.new) for each in toggles.changes(old, new)] == [
        ("a", 1, True),
        ("c", 2, None),
        ("d", None, None),
        ("e", None, 3),
    ]


@pytest.mark.parametrize(
    ("value", "said"), [(None, "(default)"), (True, "true"), (5, "5"), ("off", "off"), (["a"], '["a"]')]
)
def test_values_are_shown_as_they_are_written(value: object, said: str) -> None:
    assert toggles.shown(value) == said
