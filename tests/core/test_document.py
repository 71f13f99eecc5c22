from __future__ import annotations

import pytest

from dcops.core.document import Document, refuse

SCHEMA = {"type": "object", "properties": {"port": {"type": "integer"}}, "additionalProperties": False}


def test_every_fault_knows_its_line() -> None:
    document = Document.parse(b"# first\nport: high\nprot: 1\n", "environment.yaml")
    rows = document.rows(document.check(SCHEMA))
    assert [(row["line"], row["path"]) for row in rows] == [(2, "port"), (3, "prot")]
    assert rows[1]["hint"] == "did you mean port?"


@pytest.mark.parametrize(
    ("content", "line", "words"),
    [
        (b"a: [1\nb: 2\n", 2, "not valid YAML"),
        (b"a: 1\n\tb: 2\n", 2, "not valid YAML"),
        (b"a: !!python/object:os.system x\n", 1, "not valid YAML"),
        (b"a: 1\n--- \nb: 2\n", 2, "not valid YAML"),
        (b"a: 1\nb: \xff\n", 2, "not UTF-8"),
        (b"a: \x00\n", 1, "not valid YAML"),
        (b"a: 1\nb: 2\na: 3\n", 3, "written twice, first on line 1"),
        (b"true: 1\n", 1, "a key must be text"),
        (b"a: &a [*a]\n", 1, "nested too deeply"),
        (b"[" * 5000, 1, "not valid YAML"),
    ],
)
def test_broken_yaml_is_a_fault_and_never_an_exception(content: bytes, line: int, words: str) -> None:
    document = Document.parse(content, "environment.yaml")
    [row] = document.rows(document.check({}))
    assert row["line"] == line
    assert words in row["message"]


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"---\n", b"\xef\xbb\xbf# marked\n"])
def test_an_empty_file_is_an_empty_mapping(content: bytes) -> None:
    assert Document.parse(content, "toggles.yaml").value == {}


def test_a_date_is_text() -> None:
    assert Document.parse(b"api_model: 2026-11-20\n", "toggles.yaml").value == {"api_model": "2026-11-20"}


def test_the_error_names_the_first_fault_and_carries_all() -> None:
    document = Document.parse(b"port: high\nprot: 1\n", "e.yaml")
    error = refuse("DC-TEST", document.rows(document.check(SCHEMA)), do="correct it")
    assert error.what == 'e.yaml:1: port must be a whole number, not the text "high"'
    assert error.exit_code == 6
    assert len(error.detail["faults"]) == 2
    assert "e.yaml:2: prot is not a known key" in error.why
