"""A YAML document with the line of every key, so that each fault can say where it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from dcops.core.schema import Fault, Path, faults
from dcops.errors import PreconditionMissing

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file.

    Attributes:
        file: Its name, for messages.
        value: Its content; an empty file is an empty mapping.
        lines: Line (from 1) of each key and list item by its path.
        faults: What keeps it from being read at all, or keys written twice.
    """

    file: str
    value: Any
    lines: Mapping[Path, int] = field(default_factory=dict)
    faults: tuple[Fault, ...] = ()

    @classmethod
    def parse(cls, content: bytes, file: str) -> Document:
        """Read YAML; never raises, what is wrong stands in ``faults``."""
        import yaml  # noqa: PLC0415 - 20 ms that commands without files do not need

        try:
            loader = _loader(yaml)(content.decode("utf-8-sig"))
            node = loader.get_single_node()
            value = None if node is None else loader.construct_document(node)
            lines: dict[Path, int] = {}
            found = () if value is None else tuple(_index(node, (), lines))
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            text = "; ".join(part for part in (error.context, error.problem) if part)
            return cls._broken(file, text or "it cannot be read", mark.line + 1 if mark else 1)
        except UnicodeDecodeError as error:
            return cls._broken(file, "it is not UTF-8 text", content.count(b"\n", 0, error.start) + 1)
        except RecursionError:
            return cls._broken(file, "it is nested too deeply", 1)
        except (yaml.YAMLError, ValueError) as error:
            return cls._broken(file, str(error), 1)
        return cls(file, {} if value is None else value, lines, found)

    @classmethod
    def _broken(cls, file: str, problem: str, line: int) -> Document:
        return cls(file, {}, {(): line}, (Fault((), f"this is not valid YAML: {problem}"),))

    def line(self, path: Path) -> int:
        """The line of a path, or of the nearest part above that has one."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def check(self, schema: Mapping[str, Any]) -> list[Fault]:
        """Everything wrong with the document: what the parser found, else what the schema says."""
        return list(self.faults) or faults(self.value, schema)

    def rows(self, found: Iterable[Fault]) -> list[dict[str, Any]]:
        """Faults as JSON values with file and line, in the file's order."""
        rows = [
            {
                "file": self.file,
                "line": self.line(fault.path),
                "path": fault.place,
                "message": fault.message,
                "hint": fault.hint,
            }
            for fault in found
        ]
        return sorted(rows, key=lambda row: row["line"])


def refuse(code: str, rows: list[dict[str, Any]], *, do: str) -> PreconditionMissing:
    """The error for bad files: the first fault in words, all of them in ``detail["faults"]``."""
    first, more = rows[0], len(rows) - 1
    subject = f"{first['path']} {first['message']}" if first["path"] else first["message"]
    hint = f" ({first['hint']})" if first["hint"] else ""
    return PreconditionMissing(
        code,
        f"{first['file']}:{first['line']}: {subject}{hint}",
        why=f"{more} more in the same files: " + "; ".join(map(_brief, rows[1:6])) if more else "",
        do=do,
        file=first["file"],
        line=first["line"],
        path=first["path"],
        faults=rows,
    )


def _brief(row: dict[str, Any]) -> str:
    return f"{row['file']}:{row['line']}: {row['path']} {row['message']}".replace("  ", " ")


def _loader(yaml: Any) -> Any:
    """The safe loader without dates: a release name like 2026-11-20 is text."""
    base: Any = yaml.SafeLoader

    class Loader(base):  # type: ignore[misc]
        yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML reads it from the class
            first: [pair for pair in pairs if pair[0] != "tag:yaml.org,2002:timestamp"]
            for first, pairs in base.yaml_implicit_resolvers.items()
        }

    return Loader


def _index(node: Any, path: Path, lines: dict[Path, int]) -> Iterator[Fault]:
    """Note the line of everything below a node, and yield keys that are written twice or are no text."""
    lines.setdefault(path, node.start_mark.line + 1)
    if node.id == "sequence":
        for index, item in enumerate(node.value):
            yield from _index(item, (*path, index), lines)
    elif node.id == "mapping":
        for key, item in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            at = (*path, str(key.value))
            if key.tag != "tag:yaml.org,2002:str":
                yield Fault(at, "a key must be text; put it in quotes")
            elif at in lines:
                yield Fault(at, f"is written twice, first on line {lines[at]}")
            lines[at] = key.start_mark.line + 1
            yield from _index(item, at, lines)
