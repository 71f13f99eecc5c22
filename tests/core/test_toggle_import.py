from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcops.core.toggle_import import schema_of
from dcops.core.toggles import defaults, validate
from dcops.errors import UsageError

VALUES = st.one_of(
    st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text(max_size=9)
)


@given(st.dictionaries(st.from_regex("[a-z_][a-z0-9_]{0,9}", fullmatch=True), VALUES))
def test_the_values_fit_the_schema_that_is_made_of_them(values: dict[str, object]) -> None:
    schema = schema_of(json.dumps(values).encode(), "feature_toggles.json")
    assert defaults(schema) == values
    assert validate(values, schema) == []


def test_types_are_inferred_exactly() -> None:
    schema = schema_of(b'{"a": true, "b": 1, "c": 1.0, "d": "x"}', "t.json")
    assert [each["type"] for each in schema["properties"].values()] == [
        "boolean",
        "integer",
        "number",
        "string",
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "must be an object"),
        (b'{"a": null}', "a must be"),
        (b'{"a": {"b": 1}}', "a must be"),
        (b'{"a": NaN}', "a must be"),
        (b'{"a b": 1}', "no name"),
    ],
)
def test_what_cannot_be_taken_over_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        schema_of(content, "t.json")
    assert why in caught.value.why
    assert caught.value.exit_code == 2
