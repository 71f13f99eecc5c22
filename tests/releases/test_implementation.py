from __future__ import annotations

import json
from pathlib import Path

import pytest

from dcops.errors import PreconditionMissing
from dcops.releases.context import load_release
from dcops.releases.implementation import read_implementation, read_toggle_schema

REPOSITORY = Path(__file__).resolve().parents[2]


def refusal(directory: Path) -> PreconditionMissing:
    with pytest.raises(PreconditionMissing) as caught:
        load_release(directory)
    assert caught.value.code == "DC-IMPLEMENTATION-INVALID"
    assert caught.value.exit_code == 6
    return caught.value


def test_ours_is_valid() -> None:
    release = load_release(REPOSITORY / "dcops" / "agent")
    assert release.implementation.command == ("python", "-m", "agent")
    assert "use_streaming_bash" in release.schema["properties"]


def test_what_is_not_said_has_defaults(implementation: Path) -> None:
    (implementation / "implementation.yaml").write_text(
        "name: mine\ncommand: [run]\nlock: requirements.lock\n"
    )
    read = read_implementation(implementation)
    assert (read.roles, read.ignore, read.toggles, read.journal) == (True, (), "", None)
    assert read_toggle_schema(implementation, read)["properties"] == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"comand": ["x"]}, "did you mean command?"),
        ({"command": "python"}, "command must be a list"),
        ({"command": []}, "command must be a list"),
        ({"name": "My-Agent"}, "a Python package name"),
        ({"lock": "nowhere.lock"}, "lock names nowhere.lock, which is not there"),
        ({"lock": "../requirements.lock"}, "must be a file in this directory"),
        ({"toggles": "/etc/passwd"}, "must be a file in this directory"),
        ({"roles": "no"}, "true or false"),
        ({"journal": {"schema": 2, "min_reader": 1}}, "migrate is missing"),
        ({"journal": {"schema": 0, "min_reader": 1, "migrate": ["x"]}}, "schema must be"),
        ({"journal": {"schema": 2, "min_reader": 3, "migrate": ["x"]}}, "must not be above schema, 2"),
    ],
)
def test_a_bad_description_is_refused_with_its_place(
    implementation: Path, change: dict[str, object], words: str
) -> None:
    file = implementation / "implementation.yaml"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    error = refusal(implementation)
    assert words in error.what
    assert error.what.startswith(f"{file}:1: ")


def test_a_missing_description_is_refused(implementation: Path) -> None:
    (implementation / "implementation.yaml").unlink()
    assert "No such file" in refusal(implementation).what


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"properties":\n {,}}', ":2: is not valid JSON"),
        ("[]", "must be a JSON Schema"),
        ('{"properties": {"a": {"default": 1}}}', "needs a type"),
        ('{"properties": {"a": {"type": "boolean"}}}', "needs a default"),
        ('{"properties": {"a": {"type": "boolean", "default": 1}}}', "must be true or false, not 1"),
        ('{"properties": {"a": {"type": "string", "pattern": "(", "default": ""}}}', "no usable JSON Schema"),
        (
            '{"properties": {"a": {"type": "string", "default": "", "x-retires": {"b": "soon"}}}}',
            "x-retires must give the day",
        ),
        ('{"properties": {"a": {"type": "integer", "anyOf": 5, "default": 1}}}', "no usable JSON Schema"),
    ],
)
def test_a_bad_toggle_schema_is_refused(implementation: Path, text: str, words: str) -> None:
    (implementation / "toggles.schema.json").write_text(text)
    assert words in refusal(implementation).what


@pytest.mark.parametrize("name", ["implementation.yaml", "requirements.lock", "toggles.schema.json"])
def test_a_file_that_is_needed_cannot_be_ignored(implementation: Path, name: str) -> None:
    (implementation / ".dcopsignore").write_text(f"{name}\n")
    assert f"{name}:1: is needed" in refusal(implementation).what
