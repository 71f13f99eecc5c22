"""Who may import whom, read from the code; see docs/design.md."""

from __future__ import annotations

import ast
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "dcops"
MODULES = sorted(PACKAGE.rglob("*.py"))

PARTS = {
    "environments",
    "keys",
    "projects",
    "backups",
    "releases",
    "engines",
    "proxy",
    "records",
    "client",
    "verification",
}
LEAVES = {"errors", "files"}
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "core": {"core", "errors"},
    **{part: {part, "core", *LEAVES} for part in PARTS},
    "operations": {"operations", "core", *LEAVES, *PARTS},
    "cli": {"cli", "operations", "core", *LEAVES},
    "scripted_model": {"scripted_model"},
    "agent": {"agent"},
    "__init__": set(),
}
ALLOWED["verification"] |= {"client"}
ALLOWED["environments"] |= {"projects"}

AGENT_LAYERS = (
    {"events", "settings", "toggles"},
    {"journal", "model", "tools"},
    {"calls"},
    {"prompts"},
    {"turn"},
    {"loop"},
    {"service"},
    {"__main__"},
)
ONLY_IN = {
    "click": "dcops/cli/",
    "rich": "dcops/cli/",
    "docker": "dcops/engines/docker",
    "anthropic": "dcops/agent/model/transport.py",
}


def imports(path: Path) -> list[tuple[str, int]]:
    """Absolute names of what a module imports, with the line; relative ones resolved."""
    found: list[tuple[str, int]] = []
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(name.name, node.lineno) for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (base, node.module or "") if part)
            found += [(f"{module}.{name.name}", node.lineno) for name in node.names]
    return found


def part(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def where(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=where)
def test_a_module_imports_only_what_its_part_may(path: Path) -> None:
    allowed = ALLOWED[part(path)]
    if path.name == "wiring.py" and part(path) == "cli":
        allowed = allowed | PARTS
    for name, line in imports(path):
        words = name.split(".")
        if words[0] == "dcops" and len(words) > 1 and words[1] != "__version__":
            assert words[1] in allowed, f"{where(path)}:{line} imports {name}"


@pytest.mark.parametrize("path", sorted((PACKAGE / "agent").rglob("*.py")), ids=where)
def test_the_agent_is_layered_and_relative(path: Path) -> None:
    relative = path.relative_to(PACKAGE / "agent")
    own = relative.parts[0].removesuffix(".py")
    layer = next((index for index, names in enumerate(AGENT_LAYERS) if own in names), None)
    assert layer is not None or own == "__init__", f"{own} has no place in AGENT_LAYERS"
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            assert not (node.module or "").startswith("dcops"), f"{where(path)}:{node.lineno}"
    for name, line in imports(path):
        words = name.split(".")
        if words[:2] != ["dcops", "agent"] or len(words) < 3 or words[2] == own:
            continue
        target = next((index for index, names in enumerate(AGENT_LAYERS) if words[2] in names), None)
        assert target is not None, f"{where(path)}:{line} imports {name}"
        assert layer is not None
        assert target < layer, f"{where(path)}:{line}: {own} may not import {words[2]}"


@pytest.mark.parametrize("path", MODULES, ids=where)
def test_a_library_is_imported_in_its_place_only(path: Path) -> None:
    for name, line in imports(path):
        home = ONLY_IN.get(name.split(".")[0])
        assert home is None or where(path).startswith(home), f"{where(path)}:{line} imports {name}"


@pytest.mark.parametrize("path", MODULES, ids=where)
def test_nothing_prints(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "print", f"{where(path)}:{node.lineno}"


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=where)
def test_package_files_hold_a_docstring_only(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    extra = [node for node in body[1:] if not _is_version(node)]
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert extra == []


def _is_version(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "__version__"
    )


def test_there_are_no_import_cycles() -> None:
    graph = {module_name(path): set[str]() for path in MODULES}
    for path in MODULES:
        for name, _line in imports(path):
            for candidate in (name, name.rpartition(".")[0]):
                if candidate in graph and candidate != module_name(path):
                    graph[module_name(path)].add(candidate)
                    break
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail[trail.index(module) :], module))
        if module not in done:
            for other in graph[module]:
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_modules_and_functions_are_short() -> None:
    lengths = {
        where(path): len(path.read_text().splitlines()) for path in MODULES if path.name != "__init__.py"
    }
    functions = {
        f"{where(path)}:{node.lineno} {node.name}": (node.end_lineno or 0) - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert {name: lines for name, lines in lengths.items() if lines > 600} == {}
    assert median(lengths.values()) <= 150
    assert {name: lines for name, lines in functions.items() if lines > 90} == {}
    long = [name for name, lines in functions.items() if lines > 40]
    assert len(long) <= 0.05 * len(functions), long
