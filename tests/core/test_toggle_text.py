from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dcops.core.toggle_text import NotEditableError, set_value, unset_value

NAMES = st.one_of(st.from_regex("[a-z][a-z_]{0,8}", fullmatch=True), st.sampled_from(["off", "y", "null"]))
TEXTS = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=20)
VALUES = st.one_of(st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS)
COMMENTS = st.sampled_from(["", "  # why", " #"])
STYLES = st.sampled_from([None, "'", '"'])


@st.composite
def files(draw: st.DrawFn) -> str:
    """Toggle files as people write them: comments, blank lines, quotes, either line end."""
    values = draw(st.dictionaries(NAMES, VALUES, max_size=6))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    lines = draw(st.sampled_from([[], ["# values only"], ["---"]]))
    for name, value in values.items():
        written = yaml.safe_dump(value, default_style=draw(STYLES), width=10**6, allow_unicode=True)
        key = yaml.safe_dump(name).splitlines()[0]
        lines.append(f"{key}: {written.splitlines()[0]}{draw(COMMENTS)}")
        lines += draw(st.sampled_from([[], ["", "# next"]]))
    return end.join(lines) + draw(st.sampled_from(["", end]))


def read(text: str) -> dict[str, object]:
    return yaml.safe_load(text) or {}


@given(files(), NAMES, VALUES)
def test_a_change_changes_that_value_and_no_other_line(text: str, name: str, value: object) -> None:
    before = read(text)
    changed = set_value(text, name, value)
    assert repr(read(changed)) == repr(before | {name: value})
    old, new = text.splitlines(), changed.splitlines()
    if name in before:
        assert sum(a != b for a, b in zip(old, new, strict=True)) <= 1
    else:
        assert [line for line in new if line not in set(new) - set(old)] == old


@given(files(), NAMES, VALUES)
def test_adding_and_taking_out_again_gives_the_same_bytes(text: str, name: str, value: object) -> None:
    if name not in read(text) and text.endswith("\n"):
        assert unset_value(set_value(text, name, value), name) == text


@given(files())
def test_taking_out_every_toggle_leaves_the_comments(text: str) -> None:
    left = text
    for name in read(text):
        left = unset_value(left, name)
    assert read(left) == {}
    comments = [line for line in text.splitlines() if line.startswith("#")]
    assert [line for line in left.splitlines() if line.startswith("#")] == comments


@pytest.mark.parametrize(
    ("text", "name", "value", "changed"),
    [
        ("a: 1  # why\nb: 2\n", "a", 3, "a: 3  # why\nb: 2\n"),
        ("a: 'x'\n", "a", "it's", "a: 'it''s'\n"),
        ('a: "x"\n', "a", "y", 'a: "y"\n'),
        ("a: x\n", "a", "true", "a: 'true'\n"),
        ("a: x\n", "a", "", "a: ''\n"),
        ("a: x\n", "a", "2026-11-20", "a: 2026-11-20\n"),
        ("a:\nb: 1\n", "a", True, "a: true\nb: 1\n"),
        ("a: |\n  long\n  text\nb: 1\n", "a", "short", "a: short\nb: 1\n"),
        ("{a: 1, b: 2}\n", "b", 3, "{a: 1, b: 3}\n"),
        ("{a: 1}\n", "b", 3, "{a: 1, b: 3}\n"),
        ("{}\n", "b", 3, "{b: 3}\n"),
        ("a: 1", "b", 2, "a: 1\nb: 2\n"),
        ("  a: 1\n", "b", 2, "  a: 1\n  b: 2\n"),
        ("a: 1\r\n# end\r\n", "b", 2, "a: 1\r\nb: 2\r\n# end\r\n"),
        ("", "a", 1e20, "a: 1.0e+20\n"),
        ("", "off", "x", '"off": x\n'),
        ("'off': x\n", "off", "z", "'off': z\n"),
        ("a: 1\n...\n", "a", 2, "a: 2\n...\n"),
        ("\ufeffa: 1\n", "a", 2, "\ufeffa: 2\n"),
    ],
)
def test_the_way_of_writing_stays(text: str, name: str, value: object, changed: str) -> None:
    assert set_value(text, name, value) == changed


@pytest.mark.parametrize(
    ("text", "name", "left"),
    [
        ("a: 1\nb: 2  # why\nc: 3\n", "b", "a: 1\nc: 3\n"),
        ("a: 1\n", "a", ""),
        ("{a: 1, b: 2}\n", "a", "{b: 2}\n"),
        ("{a: 1, b: 2}\n", "b", "{a: 1}\n"),
        ("{a: 1}\n", "a", "{}\n"),
        ("a: 1\n", "b", "a: 1\n"),
    ],
)
def test_an_entry_is_taken_out_alone(text: str, name: str, left: str) -> None:
    assert unset_value(text, name) == left


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x\n", "[1, 2]\n", "a: [1\n", "a: 1\na: 2\n"])
def test_a_text_that_is_too_clever_is_refused(text: str) -> None:
    with pytest.raises(NotEditableError):
        set_value(text, "a", 5)
