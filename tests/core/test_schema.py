from __future__ import annotations

import math

import pytest

from dcops.core.schema import expected, faults

BUDGET = {"type": "integer", "minimum": 1, "maximum": 9}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (1, BUDGET),
        (True, {"type": "boolean"}),
        (1.5, {"type": "number"}),
        (2, {"type": "number"}),
        ("a", {"type": "string", "minLength": 1}),
        (None, {"type": ["null", "string"]}),
        ([1, 2], {"type": "array", "items": BUDGET, "minItems": 2}),
        ({"a": 1}, {"type": "object", "additionalProperties": BUDGET}),
        ("b", {"enum": ["a", "b"]}),
    ],
)
def test_what_fits_has_no_faults(value: object, schema: dict[str, object]) -> None:
    assert faults(value, schema) == []


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (True, BUDGET),
        (1.0, BUDGET),
        ("1", BUDGET),
        (0, BUDGET),
        (10, BUDGET),
        (1, {"type": "boolean"}),
        (1, {"enum": [True]}),
        (math.nan, {"type": "number"}),
        (math.inf, {"type": "number"}),
        (1, {"exclusiveMinimum": 1}),
        (1, {"exclusiveMaximum": 1}),
        ("", {"minLength": 1}),
        ("aa", {"maxLength": 1}),
        ("a\n", {"pattern": "^a$"}),
        ([], {"minItems": 1}),
        ([True], {"items": BUDGET}),
        ("b", {"enum": ["a"]}),
        (None, {"type": "string"}),
    ],
)
def test_what_does_not_fit_has_one_fault(value: object, schema: dict[str, object]) -> None:
    assert len(faults(value, schema)) == 1


def test_all_faults_come_at_once_with_their_paths() -> None:
    schema = {
        "type": "object",
        "additionalProperties": False,
        "required": ["engine"],
        "properties": {"engine": {"enum": ["docker"]}, "limits": {"properties": {"pids": BUDGET}}},
    }
    found = faults({"limits": {"pids": 0}, "engin": "docker"}, schema)
    assert {fault.place: fault.hint for fault in found} == {
        "": "",
        "limits.pids": "",
        "engin": "did you mean engine?",
    }
    assert "engine is missing: it must be one of docker" in [fault.message for fault in found]


def test_a_secret_value_is_never_repeated() -> None:
    [fault] = faults("sk-secret", {"type": "string", "pattern": "^env:", "x-secret": True})
    assert "sk-secret" not in fault.message


def test_keywords_that_are_not_checked_here_are_checked_by_jsonschema() -> None:
    schema = {"properties": {"steps": {"type": "integer", "multipleOf": 5}, "name": {"const": "a"}}}
    assert faults({"steps": 10, "name": "a"}, schema) == []
    assert {fault.place for fault in faults({"steps": 7, "name": "b"}, schema)} == {"steps", "name"}


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (BUDGET, "a whole number from 1 to 9"),
        ({"type": "integer", "minimum": 1}, "a whole number of at least 1"),
        ({"type": "boolean"}, "true or false"),
        ({"enum": ["a", True]}, "one of a, true"),
        ({"type": "string", "x-expected": "an IP address"}, "an IP address"),
    ],
)
def test_expected_says_what_is_allowed(schema: dict[str, object], words: str) -> None:
    assert expected(schema) == words
