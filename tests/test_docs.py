"""What the documentation says is what is there: links, commands, keys, defaults, codes, console blocks."""

from __future__ import annotations

import ast
import itertools
import json
import re
import shlex
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest

from dcops.cli.app import App
from dcops.cli.base import EXITS
from dcops.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")])
WRITTEN = [page for page in PAGES if page.name != "cli.md"]
"""All but the page that is made from the commands' own help."""
MAKEFILE = ROOT / "Makefile"
NO_DEFAULT = {"required", "none", "the packaged agent"}


@cache
def text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return re.sub(r"^```.*?^```", "", text(page), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def rows(page: Path, head: str) -> list[list[str]]:
    """The cells of every table whose head begins with these cells."""
    found, inside = [], False
    for line in text(page).splitlines():
        if not line.startswith("|"):
            inside = False
        elif line.startswith(f"| {head} |"):
            inside = True
        elif inside and not line.startswith("|---"):
            found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def codes(cell: str) -> list[str]:
    """What stands between backticks."""
    return re.findall(r"`([^`]+)`", cell)


def leaves(group: click.Group = cli, *path: str) -> Iterator[tuple[str, ...]]:
    context = click.Context(group)
    for word in group.list_commands(context):
        command = group.get_command(context, word)
        if isinstance(command, click.Group):
            yield from leaves(command, *path, word)
        else:
            yield (*path, word)


def command_lines() -> list[tuple[str, str]]:
    """Each `dcops` command, with the page it stands in: in blocks, in prose, and at the end of `make up`."""
    found = [("Makefile", line) for line in re.findall(r"^\t\t'  (.*)'", text(MAKEFILE), re.MULTILINE)]
    for page in WRITTEN:
        for block in re.findall(r"^```console\n(.*?)^```", text(page), re.MULTILINE | re.DOTALL):
            shell = block.replace("\\\n", "")
            found += [(name(page), line) for line in re.findall(r"^\$ (.*)$", shell, re.MULTILINE)]
        found += [(name(page), span) for line in prose(page).splitlines() for span in codes(line)]
    return [(page, line) for page, line in found if re.match(r"(\S*/)?dcops ", line)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in link:
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.exists(), f"{name(page)} links to {link}"
        assert not anchor or anchor in anchors(target), f"{name(page)} links to {link}"


def test_every_page_is_reached_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / link.partition("#")[0]).resolve()
        for link in re.findall(r"\]\(([^)]+)\)", text(index))
    }
    assert {page for page in PAGES if page.is_relative_to(index.parent)} - {index} == linked


@pytest.mark.parametrize("page", WRITTEN, ids=name)
def test_one_sentence_stands_on_one_line(page: Path) -> None:
    for line in prose(page).splitlines():
        spoken = "" if line.startswith("|") else re.sub(r"`[^`]*`", "``", line)
        assert not re.search(r"[.!?] [A-Z]", spoken), f"{name(page)}: {line}"


@pytest.mark.parametrize("path", list(leaves()), ids=" ".join)
def test_every_command_is_mentioned_outside_its_reference(path: tuple[str, ...]) -> None:
    assert any(re.search(rf"\bdcops {' '.join(path)}\b", text(page)) for page in WRITTEN)


def words_of(line: str) -> list[str]:
    """The words of a command, up to where something else of the shell begins."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
    lexer.whitespace_split = True
    return list(itertools.takewhile(lambda word: not set(word) <= set("|&;()<>"), lexer))


@pytest.mark.parametrize(("page", "line"), command_lines())
def test_commands_in_the_documentation_parse(
    page: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "feature_toggles.json").write_text("{}")
    command: click.Command | None = cli
    _, *words = words_of(line)
    while words and isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None, f"{page}: {line}"
    if words:
        command.make_context(command.name, words, obj=App())


def properties(schema: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, value in schema["properties"].items():
        if "properties" in value:
            yield from properties(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


@pytest.mark.parametrize(
    ("page", "schema"),
    [
        ("environment.md", "dcops/environment.schema.json"),
        ("implementation.md", "dcops/releases/implementation.schema.json"),
    ],
)
def test_every_key_of_a_file_is_documented_with_its_default(page: str, schema: str) -> None:
    declared = json.loads((ROOT / schema).read_bytes())
    wanted = dict(properties(declared))
    documented = {codes(row[0])[0]: row[2] for row in rows(REFERENCE / page, "key | type | default")}
    assert documented.keys() == wanted.keys()
    for key, default in documented.items():
        if key in declared["required"]:
            assert default == "required"
        elif "default" in wanted[key]:
            assert default == f"`{plain(wanted[key]['default'])}`", key
        else:
            assert default in NO_DEFAULT or key == "paths.logs", key


def plain(value: Any) -> str:
    """A value as it is written in YAML."""
    if isinstance(value, list):
        return f"[{', '.join(map(str, value))}]"
    return json.dumps(value) if isinstance(value, bool) else str(value)


def test_every_toggle_is_documented_with_its_default() -> None:
    schema = json.loads((ROOT / "dcops/agent/toggles.schema.json").read_bytes())
    takes_effect = {"next-turn": "next turn", "live": "at once"}
    wanted = {
        toggle: (plain(each["default"]), takes_effect[each["x-applies"]], each["description"])
        for toggle, each in schema["properties"].items()
    }
    table = rows(REFERENCE / "toggles.md", "toggle | type | default")
    assert {codes(row[0])[0]: (codes(row[2])[0], row[3], row[4]) for row in table} == wanted


def test_every_error_code_is_documented_and_no_other() -> None:
    used = set()
    for file in (ROOT / "dcops").rglob("*.py"):
        used |= set(re.findall(r'"(DC-[A-Z-]+)"', file.read_text(encoding="utf-8")))
    documented = [code for row in rows(REFERENCE / "errors.md", "code | means") for code in codes(row[0])]
    assert sorted(documented) == sorted(used)


def test_every_exit_code_is_documented() -> None:
    documented = [
        int(code) for row in rows(REFERENCE / "errors.md", "exit | means") for code in row[0].split(", ")
    ]
    assert documented == sorted(EXITS)


def test_every_json_schema_is_documented() -> None:
    wanted = {f"dcops.{'.'.join(path)}/1" for path in leaves()} - {"dcops.resume/1", "dcops.abort/1"}
    wanted.remove("dcops.exec/1")  # its output is another command's
    documented = set(re.findall(r"dcops\.[a-z.]+/1", text(REFERENCE / "json.md")))
    assert documented == wanted | {"dcops.event/1", "dcops.error/1"}


def test_every_route_of_the_agent_is_documented() -> None:
    from dcops.agent.service.app import ROUTES

    wanted = {
        (method, re.sub(r"\{session\}", "{id}", route.path))
        for route in ROUTES
        for method in route.methods or ()
        if method != "HEAD" and route.path != "/page.css"
    }
    table = rows(REFERENCE / "http-api.md", "route | does")
    documented = {pair for row in table for pair in re.findall(r"`([A-Z]+) (/\S*?)`", row[0])}
    assert documented == wanted


def test_every_refusal_of_the_agent_is_documented() -> None:
    used = {(404, "not_found"), (405, "method_not_allowed")}  # the framework's own
    for file in (ROOT / "dcops" / "agent" / "service").glob("*.py"):
        for call in ast.walk(ast.parse(text(file))):
            match call:
                case ast.Call(
                    func=ast.Name("ServiceError" | "error_response"),
                    args=[ast.Constant(int(status)), ast.Constant(str(code)), *_],
                ):
                    used.add((status, code))
    table = rows(REFERENCE / "http-api.md", "status | code")
    documented = {
        (int(row[0]), code) for row in table for code in codes(row[1]) if re.fullmatch("[a-z_]+", code)
    }
    assert documented == used


def test_every_folder_of_the_readme_is_there() -> None:
    table = rows(ROOT / "README.md", "folder | holds")
    assert table
    for row in table:
        assert (ROOT / codes(row[0])[0]).exists(), row[0]
