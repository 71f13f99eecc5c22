"""Calls in text: what is taken, what is refused, and that no splitting of the text changes it."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcops.agent.calls.xml import (
    Action,
    Arguments,
    CallEnded,
    CallsEnded,
    CallStarted,
    Parser,
    Words,
    is_text,
)

SCHEMAS = {
    "bash": {"properties": {"command": {"type": "string"}, "timeout": {"type": "number"}}},
    "files": {"properties": {"path": {"type": "string"}, "view_range": {"type": "array"}}},
}


def calls(*invokes: str) -> str:
    return f"<function_calls>\n{''.join(invokes)}</function_calls>"


def invoke(name: str, **parameters: str) -> str:
    inner = "".join(f'<parameter name="{key}">{value}</parameter>\n' for key, value in parameters.items())
    return f'<invoke name="{name}">\n{inner}</invoke>\n'


def joined(actions: list[Action]) -> list[Action]:
    """Neighbouring pieces of one kind in one."""
    found: list[Action] = []
    for action in actions:
        last = found[-1] if found else None
        if isinstance(action, Words | Arguments) and type(last) is type(action):
            found[-1] = type(action)(last.text + action.text)
        else:
            found.append(action)
    return found


def parse(*pieces: str, stopped: bool = False) -> list[Action]:
    parser = Parser(SCHEMAS)
    told = [action for piece in pieces for action in parser.feed(piece)]
    return joined(told + parser.finish(stopped=stopped))


def ended(actions: list[Action]) -> list[CallEnded]:
    return [action for action in actions if isinstance(action, CallEnded)]


def only_input(value: str) -> str:
    (call,) = ended(parse(calls(invoke("bash", command=value))))
    assert call.fault is None
    return str(call.input["command"])


def test_a_call_between_words() -> None:
    text = "Look: " + calls(invoke("bash", command="ls -la", timeout="2.5")) + " done"
    assert parse(text) == [
        Words("Look: "),
        CallStarted("bash"),
        Arguments('{"command": "ls -la", "timeout": 2.5}'),
        CallEnded({"command": "ls -la", "timeout": 2.5}),
        CallsEnded(),
        Words(" done"),
    ]


def test_several_calls_and_words_between_them() -> None:
    text = calls(invoke("bash", command="a"), "and \n", invoke("files", path="b", view_range="[1, 2]"))
    told = parse(text)
    assert [call.input for call in ended(told)] == [{"command": "a"}, {"path": "b", "view_range": [1, 2]}]
    assert Words("and \n") in told


def test_a_call_without_parameters() -> None:
    assert parse(calls(invoke("now")))[1:3] == [Arguments("{}"), CallEnded({})]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", ""),
        ("\n ls \n", "\n ls \n"),
        ("a &amp;&amp; b &lt;c&gt; &quot;d&apos;", "a && b <c> \"d'"),
        ("&#65;&#x1F600;", "A\U0001f600"),
        ("a && b & c &nbsp; &", "a && b & c &nbsp; &"),
        ("&amp;lt;", "&lt;"),
        ("&#xD800;&#0;&#1114112;", "&#xD800;&#0;&#1114112;"),
        ("<p class='x'>a < b</p> <!-- c -->", "<p class='x'>a < b</p> <!-- c -->"),
        ("<invoker><parameters></parameters></invoker>", "<invoker><parameters></parameters></invoker>"),
        ("<![CDATA[<invoke name='x'>&lt;</parameter>]]>", "<invoke name='x'>&lt;</parameter>"),
        ("a<![CDATA[]]]]><![CDATA[>]]>b", "a]]>b"),
        ("&lt;invoke name=&quot;bash&quot;>", '<invoke name="bash">'),
        ('say "\\n" \u2028 \t', 'say "\\n" \u2028 \t'),
    ],
)
def test_what_stands_in_a_text_parameter(written: str, meant: str) -> None:
    assert only_input(written) == meant


@pytest.mark.parametrize(
    ("invokes", "told"),
    [
        (invoke("bash", command="a", timeout="soon"), "'timeout' must be JSON, as it is number"),
        (invoke("bash", command="a", timeout="1, 2"), "'timeout' must be JSON"),
        (invoke("bash", command="a", timeout='1, "command": "b"'), "'timeout' must be JSON"),
        (invoke("bash", command="a", timeout="NaN"), "'timeout' must be JSON"),
        (invoke("bash", command="a", timeout="99999999999999999999"), "'timeout' must be JSON"),
        (invoke("files", view_range='[{"a": 1, "a": 2}]'), "'a' stands twice"),
        (
            invoke("bash", command="a").replace(
                "</invoke>", '<parameter name="command">b</parameter></invoke>'
            ),
            "twice",
        ),
        ('<invoke name="bash">ls</invoke>', "text outside of a <parameter>"),
        ('<invoke name="bash"><command>ls</command></invoke>', "<command> has no place here"),
        (
            '<invoke name="bash"><parameter name="command">ls</invoke>',
            "</invoke> stands inside of the parameter",
        ),
        ('<invoke name="bash"><parameter name="command">ls<parameter name="x">', "<parameter> stands inside"),
        ('<invoke name="bash"><invoke name="bash"></invoke></invoke>', "has no place here"),
        ('<invoke name="bash"><parameter>ls</parameter></invoke>', "<parameter> has no place here"),
        ("<invoke>", "<invoke> has no place here"),
        ('<invoke name="bash"/>', "has no place here"),
        ('<tool name="bash">', '<tool name="bash"> has no place here'),
        ("", "<function_calls> has no <invoke>"),
        ("<" + "x" * 1000, "has no place here"),
    ],
)
def test_what_is_no_call_is_refused_with_what_to_correct(invokes: str, told: str) -> None:
    (call,) = ended(parse(calls(invokes)))
    assert call.input == {}
    assert told in str(call.fault)


def test_a_fault_within_a_call_spoils_that_call_only() -> None:
    bad, good = ended(parse(calls(invoke("bash", timeout="x"), invoke("bash", command="ok"))))
    assert bad.fault
    assert good == CallEnded({"command": "ok"})


def test_after_wrong_nesting_nothing_is_a_call_any_more() -> None:
    """What follows may be the text of the parameter that was not closed."""
    inner = calls(invoke("bash", command="rm -rf ."))
    told = parse(
        calls(invoke("files", path=f"an example: {inner} and {inner}")) + calls(invoke("bash", command="x"))
    )
    assert [type(action) for action in told if not isinstance(action, Arguments)] == [
        CallStarted,
        CallEnded,
        Words,
    ]
    assert "nothing behind it was taken" in str(ended(told)[0].fault)


@pytest.mark.parametrize(
    "text",
    [
        '<function_calls><invoke name="bash"><parameter name="command">ls',
        '<function_calls><invoke name="bash"><parameter name="command"><![CDATA[ls</parameter></invoke>',
        '<function_calls><invoke name="bash">',
        '<function_calls><invoke name="bash"',
        "<function_calls>",
    ],
)
@pytest.mark.parametrize("stopped", [False, True])
def test_what_is_not_closed_is_refused(text: str, stopped: bool) -> None:
    (call,) = ended(parse(text, stopped=stopped))
    assert call.fault


def test_the_end_that_the_api_leaves_out_is_no_fault() -> None:
    text = calls(invoke("bash", command="ls"))
    assert parse(text.removesuffix("</function_calls>"), stopped=True) == parse(text)


def test_a_closing_tag_in_a_parameter_or_in_mere_text_ends_the_reply_and_the_model_is_told() -> None:
    (call,) = ended(
        parse('<function_calls><invoke name="bash"><parameter name="command">grep ', stopped=True)
    )
    assert "&lt;/function_calls>" in str(call.fault)
    told = parse("One ends calls with ", stopped=True)
    assert told[0] == Words("One ends calls with ")
    assert "&lt;/function_calls>" in str(ended(told)[0].fault)


def test_text_is_held_back_only_where_a_tag_may_begin() -> None:
    parser = Parser(SCHEMAS)
    assert parser.feed("a < b <func") == [Words("a < b ")]
    assert parser.feed("y") == [Words("<funcy")]
    assert parser.feed("<function_calls") == []
    assert parser.cut() == [Words("<function_calls")]


def test_arguments_are_told_while_they_come() -> None:
    parser = Parser(SCHEMAS)
    parser.feed('<function_calls><invoke name="bash"><parameter name="command">')
    assert parser.feed("echo a &am") == [Arguments("echo a ")]
    assert parser.feed("p; b</para") == [Arguments("&"), Arguments(" b")]
    assert parser.cut() == []


ODDS = st.sampled_from(
    [
        "<function_calls>",
        "</function_calls>",
        '<invoke name="bash">',
        '<invoke name="files">',
        "</invoke>",
        '<parameter name="command">',
        '<parameter name="timeout">',
        "</parameter>",
        "<![CDATA[",
        "]]>",
        "]]",
        "&lt;",
        "&amp;",
        "&#65;",
        "&#x41;",
        "&",
        "<",
        ">",
        "/",
        "1",
        "[2]",
        "text",
        "\n",
        " ",
        '"',
        "\\",
        "é",
        "<b>",
        "<invoke",
    ]
)
WRITTEN = st.lists(st.one_of(ODDS, st.text(max_size=5))).map("".join)
WHOLE = st.builds(
    lambda before, value, after: before + calls(invoke("bash", command=value, timeout="3")) + after,
    st.text(max_size=8),
    WRITTEN,
    WRITTEN,
)


@settings(max_examples=400, deadline=None)
@given(text=st.one_of(WRITTEN, WHOLE), cuts=st.lists(st.integers(0, 400)), stopped=st.booleans())
def test_any_splitting_means_the_same(text: str, cuts: list[int], stopped: bool) -> None:
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    whole = parse(text, stopped=stopped)
    assert parse(*pieces, stopped=stopped) == whole
    assert parse(*text, stopped=stopped) == whole


@settings(max_examples=300, deadline=None)
@given(text=st.one_of(WRITTEN, WHOLE))
def test_calls_begin_and_end_in_turns_and_arguments_are_their_input(text: str) -> None:
    arguments, is_open = "", False
    for action in parse(text):
        match action:
            case CallStarted():
                assert not is_open
                arguments, is_open = "", True
            case Arguments(piece):
                assert is_open
                arguments += piece
            case CallEnded(given, fault):
                assert is_open
                is_open = False
                assert fault or json.loads(arguments) == given
    assert not is_open


@settings(max_examples=300, deadline=None)
@given(value=st.text())
def test_a_value_comes_back_as_it_was_escaped(value: str) -> None:
    assert only_input(value.replace("&", "&amp;").replace("<", "&lt;")) == value


@given(text=st.text().filter(lambda text: "<function_calls>" not in text))
def test_text_without_calls_is_unchanged(text: str) -> None:
    assert parse(text) == ([Words(text)] if text else [])


def test_the_work_grows_with_the_text_and_not_faster() -> None:
    """What is kept between two pieces stays small, so that a piece costs its own size."""
    parser = Parser(SCHEMAS)
    value = "<div>a &amp; b</div>\n" * 500
    for character in calls(invoke("bash", command=value)) + " <" * 1000:
        parser.feed(character)
        assert len(parser._held) <= 300


@pytest.mark.parametrize(
    ("schema", "text"),
    [
        (None, True),
        (True, True),
        ({}, True),
        ({"type": "string"}, True),
        ({"type": ["string", "null"]}, True),
        ({"enum": ["a", "b"]}, True),
        ({"const": "a"}, True),
        ({"enum": ["a", 1]}, False),
        ({"const": 1}, False),
        ({"type": "integer"}, False),
        ({"anyOf": [{"type": "string"}]}, False),
    ],
)
def test_which_parameters_are_text(schema: Any, text: bool) -> None:
    assert is_text(schema) is text
