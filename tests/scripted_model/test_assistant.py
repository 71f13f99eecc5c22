from __future__ import annotations

from typing import Any

import pytest

from dcops.scripted_model.assistant import answer
from dcops.scripted_model.issued import sign

SCHEMA = {"type": "object", "properties": {"command": {"type": "string"}}}
BASH = {"name": "bash", "input_schema": SCHEMA}
FILES = {
    "name": "files",
    "input_schema": {"type": "object", "properties": {"command": {"enum": ["view", "create"]}}},
}


def said(asked: Any, *before: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    request = {
        "max_tokens": 4096,
        "messages": [*before, {"role": "user", "content": asked}],
        "tools": [BASH, FILES],
    }
    return answer(request | more).content or []


@pytest.mark.parametrize("asked", ["run: ls -la", "RUN:ls -la\n", [{"type": "text", "text": "run:  ls -la"}]])
def test_it_runs_what_it_is_told_to_run(asked: Any) -> None:
    assert said(asked) == [{"type": "tool_use", "name": "bash", "input": {"command": "ls -la"}}]


def test_a_command_may_have_several_lines() -> None:
    assert said("run: for i in 1 2\ndo echo $i\ndone")[0]["input"] == {
        "command": "for i in 1 2\ndo echo $i\ndone"
    }


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ("view README.md", "README.md"),
        ("View README.md.", "README.md"),
        ("show me the file `a b.txt`", "a b.txt"),
        ("please read src/", "src/"),
        ("view .", "."),
    ],
)
def test_it_views_what_it_is_told_to_view(asked: str, path: str) -> None:
    assert said(asked) == [{"type": "tool_use", "name": "files", "input": {"command": "view", "path": path}}]


def test_it_knows_the_api_s_own_editor() -> None:
    editor = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}
    assert said("view x", tools=[editor])[0]["name"] == "str_replace_based_edit_tool"


@pytest.mark.parametrize("more", [{"tools": []}, {"tools": None}, {"tool_choice": {"type": "none"}}])
def test_without_its_tools_it_says_so(more: dict[str, Any]) -> None:
    assert said("run: ls", **more)[0]["text"].startswith("I cannot run that: no tool named bash")
    assert said("view x", **more)[0]["text"].startswith("I cannot view x: no tool")


@pytest.mark.parametrize("kind", ["enabled", "adaptive"])
def test_it_thinks_when_asked_why(kind: str) -> None:
    thinking, text = said("Why is that?", thinking={"type": kind})
    assert "Why is that?" in thinking["thinking"]
    assert thinking["signature"] == sign(thinking["thinking"])
    assert text["text"].startswith("I cannot know why")


def test_its_thinking_is_omitted_or_absent_as_the_request_says() -> None:
    thinking, _ = said("why?", thinking={"type": "adaptive", "display": "omitted"})
    assert (thinking["thinking"], thinking["signature"]) == ("", sign(""))
    assert [block["type"] for block in said("why?")] == ["text"]


def test_otherwise_it_says_in_one_line_what_it_is() -> None:
    (block,) = said("hello")
    assert block["text"].startswith("I am the offline assistant")
    assert "\n" not in block["text"]


@pytest.mark.parametrize(
    ("result", "remark"),
    [
        ({"content": "a\nb\n"}, "`ls  -la` is done: 2 lines."),
        (
            {"content": [{"type": "text", "text": "a"}, {"type": "image", "source": {}}]},
            "`ls  -la` is done: 1 line.",
        ),
        ({"content": ""}, "`ls  -la` is done: no output."),
        ({}, "`ls  -la` is done: no output."),
        ({"content": "a\nexit code: 0"}, "`ls  -la` is done: 1 line."),
        ({"content": "exit code 7 is bad\nfine"}, "`ls  -la` is done: 2 lines."),
        ({"content": "no such file\n[exit code 2]"}, "`ls  -la` ended with exit code 2."),
        ({"content": "Exited with -9", "is_error": True}, "`ls  -la` ended with exit code -9."),
        ({"content": "stopped\nby the user", "is_error": True}, "`ls  -la` failed: stopped by the user"),
    ],
)
def test_it_remarks_on_a_result_in_one_line(result: dict[str, Any], remark: str) -> None:
    called = {"type": "tool_use", "id": "t", "name": "bash", "input": {"command": "ls  -la"}}
    before = [{"role": "user", "content": "run: ls  -la"}, {"role": "assistant", "content": [called]}]
    (block,) = said([{"type": "tool_result", "tool_use_id": "t"} | result], *before)
    assert block["text"] == remark.replace("ls  -la", "ls -la")


def test_what_the_user_adds_to_a_result_comes_first() -> None:
    called = {"type": "tool_use", "id": "t", "name": "bash", "input": {"command": "ls"}}
    before = [{"role": "user", "content": "run: ls"}, {"role": "assistant", "content": [called]}]
    content = [
        {"type": "tool_result", "tool_use_id": "t", "content": "x"},
        {"type": "text", "text": "run: pwd"},
    ]
    assert said(content, *before)[0]["input"] == {"command": "pwd"}


def test_it_keeps_within_max_tokens() -> None:
    request = {"max_tokens": 4, "messages": [{"role": "user", "content": "hello"}]}
    reply = answer(request)
    assert (reply.content, reply.stop_reason) == (
        [{"type": "text", "text": "I am the offline"}],
        "max_tokens",
    )


def test_cut_thinking_is_unsigned_and_a_cut_call_incomplete() -> None:
    why = {
        "max_tokens": 2,
        "messages": [{"role": "user", "content": "why?"}],
        "thinking": {"type": "adaptive"},
    }
    assert answer(why).content == [{"type": "thinking", "thinking": "The ques", "signature": ""}]
    run = {"max_tokens": 1, "messages": [{"role": "user", "content": "run: ls -la"}], "tools": [BASH]}
    (call,) = answer(run).content or []
    assert call["input_json"] == "{"


def test_the_same_request_has_the_same_answer() -> None:
    assert said("why?") == said("why?")


EXAMPLES = """Write calls into your text.

## bash
Runs.
- command (text, required): {"type":"string"}
<function_calls>
<invoke name="bash">
</invoke>
</function_calls>

## files
- command (text, required): {"type":"string","enum":["create","view"]}
<function_calls>
<invoke name="files">
</invoke>
</function_calls>
"""


@pytest.mark.parametrize("system", [EXAMPLES, [{"type": "text", "text": EXAMPLES}]])
@pytest.mark.parametrize("more", [{"tools": None}, {"tool_choice": {"type": "none"}}])
def test_it_writes_its_calls_as_xml_where_the_prompt_asks_for_it(system: Any, more: dict[str, Any]) -> None:
    (block,) = said("run: a < b && c", system=system, **more)
    assert block["text"].startswith(
        "I'll now construct a complete function call for [bash]:\n<function_calls>\n"
    )
    assert '<parameter name="command">a &lt; b &amp;&amp; c</parameter>' in block["text"]
    (block,) = said("view x.txt", system=system, **more)
    assert '<invoke name="files">\n<parameter name="command">view</parameter>' in block["text"]


def test_it_reports_results_that_come_as_text() -> None:
    written = said("run: echo '<a>'", system=EXAMPLES, tools=None)
    results = (
        '<function_results>\n<result name="bash" id="1.1" status="ok">&lt;a>\nb</result>\n</function_results>'
    )
    (block,) = said(results, {"role": "user", "content": "go"}, {"role": "assistant", "content": written})
    assert block["text"] == "`echo '<a>'` is done: 2 lines."
    (block,) = said(
        results.replace('"ok"', '"error"'),
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": written},
    )
    assert block["text"].startswith("`echo '<a>'` failed: <a> b")
