"""Writes docs/journal.md from the events (tfgpu_tui/core/events/) and the rows in them (tfgpu_tui/core/rows.py).

    python tools/journal_page.py            # writes docs/journal.md
    python tools/journal_page.py --check    # exit code 1 where the page is not what would be written

What the page says of a class or of a field is the docstring there, and nothing else.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tfgpu_tui.core import events, rows  # noqa: E402
from tfgpu_tui.core.events import machine, monitor, program, run, training  # noqa: E402

PAGE = ROOT / "docs" / "journal.md"
COMMAND = "python tools/journal_page.py"
MODULES = (run, machine, program, training, monitor)
SENDERS = {"agent": "the agent", "child": "the supervisor", "host": "the host's sampler", "gpu": "the GPUs' sampler"}
UNITS = {
    "_bytes_per_s": "bytes/s", "_bytes_per_step": "bytes/step", "_bps": "bytes/s", "_bytes": "bytes", "_percent": "%",
    "_mhz": "MHz", "_us": "µs", "_ms": "ms", "_s": "s", "_w": "W", "_c": "°C", "_j": "J",
}  # fmt: skip
"""By the end of a name; the longest first."""


class Field(NamedTuple):
    """A field of an event, or a key of a row."""

    name: str
    kind: str
    """Its type, as it is written."""
    default: str | None
    """As it is written; None where the field is required."""
    meaning: str


class Class(NamedTuple):
    """A class of the source."""

    name: str
    meaning: str
    bases: list[str]
    fields: list[Field]
    optional: bool
    """Whether its keys may be missing (`total=False`)."""


def main() -> int:
    """Writes the page, or compares it with what is there."""
    page = written()
    if "--check" in sys.argv:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if current != page:
            print(f"docs/journal.md is not what its sources say: {COMMAND}", file=sys.stderr)
        return int(current != page)
    PAGE.write_text(page, encoding="utf-8")
    print(f"docs/journal.md: {len(events.ALL_EVENTS)} events, {page.count(chr(10))} lines")
    return 0


def written() -> str:
    """The whole page."""
    return "\n".join([*opening(), *event_sections(), *row_sections()]).rstrip() + "\n"


def opening() -> Iterator[str]:
    """What holds for all events."""
    yield f"<!-- Written by `{COMMAND}` from tfgpu_tui/core/events/ and tfgpu_tui/core/rows.py; edit those. -->"
    yield "# The journal"
    yield ""
    yield (
        "A run's folder has `journal.jsonl`: one JSON object a line, appended by the run's supervisor and nobody else. "
        "The screen, `report`, `replay` and `compare` read it, and nothing but it."
    )
    yield ""
    yield (
        f"Each line has `v` (the version of the format, {events.SCHEMA_VERSION}), `type`, and the fields of its event; "
        "a field that is missing has its default. Fields are only ever added, and a reader skips types and fields that "
        "it does not know. `None` below is JSON's `null`: not measured, or not known; never zero. Where `int` stands, "
        "any number will do."
    )
    yield ""
    yield "Every event has:"
    yield ""
    yield from table("field", classes(inspect.getsource(inspect.getmodule(events.Event) or events))["Event"].fields)
    names = [f"[`{event.type}`](#{event.type})" for module in MODULES for event in module.EVENTS]
    yield f"Events: {', '.join(names)}. [Rows](#rows) are the objects inside them."
    yield ""


def event_sections() -> Iterator[str]:
    """The events, as they lie in the modules."""
    for module in MODULES:
        found = classes(inspect.getsource(module))
        yield f"## {(inspect.getdoc(module) or '').partition(':')[0].rstrip('.')}"
        yield ""
        for event in module.EVENTS:
            told = found[event.__name__]
            yield f"### {event.type}"
            yield ""
            yield told.meaning
            yield ""
            yield f"From {' and '.join(SENDERS[sender] for sender in event.senders)}."
            yield ""
            yield from table("field", told.fields)


def row_sections() -> Iterator[str]:
    """The rows. A base class whose name begins with `_` only says which keys are required: it is told with its rows."""
    yield "## Rows"
    yield ""
    yield "A key that is not required may be missing, which means the same as `None`."
    yield ""
    found = classes(inspect.getsource(rows))
    for told in found.values():
        if not told.name.startswith("_"):
            yield f"### {told.name}"
            yield ""
            parents = [base for base in told.bases if base in found and not base.startswith("_")]
            yield told.meaning + "".join(f" It has the keys of {linked(base)}, too." for base in parents)
            yield ""
            yield from table("key", [*inherited(told, found), *told.fields])


def inherited(told: Class, found: dict[str, Class]) -> list[Field]:
    """The keys of its bases that have no section of their own."""
    return [field for base in told.bases if base.startswith("_") for field in found[base].fields]


def classes(source: str) -> dict[str, Class]:
    """The classes of a module, in their order, with those that are written as calls of TypedDict."""
    out: dict[str, Class] = {}
    statements = ast.parse(source).body
    for statement, following in zip(statements, [*statements[1:], None], strict=True):
        if isinstance(statement, ast.ClassDef):
            out[statement.name] = of_class(statement)
        elif isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call):
            call, name = statement.value, ast.unparse(statement.targets[0])
            if ast.unparse(call.func) == "TypedDict" and isinstance(call.args[1], ast.Dict):
                keys = zip(call.args[1].keys, call.args[1].values, strict=True)
                fields = [Field(ast.literal_eval(k), ast.unparse(v), "", text_of(following)) for k, v in keys if k]
                out[name] = Class(name, "", [], fields, True)
    return out


def of_class(node: ast.ClassDef) -> Class:
    """A class with the docstring under each of its fields."""
    optional = any(keyword.arg == "total" for keyword in node.keywords)
    fields = []
    for statement, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and "ClassVar" not in ast.unparse(statement.annotation):
            default = "" if optional else None if statement.value is None else default_of(statement.value)
            name, kind = ast.unparse(statement.target), ast.unparse(statement.annotation)
            fields.append(Field(name, kind, default, text_of(following)))
    return Class(
        node.name, plain(ast.get_docstring(node) or ""), [ast.unparse(b) for b in node.bases], fields, optional
    )


def default_of(value: ast.expr) -> str:
    """As a reader of JSON would see it; empty containers are made by a function."""
    made = re.fullmatch(r"field\(default_factory=(.*)\)", ast.unparse(value))
    return {"list": "[]"}.get(made.group(1), "{}") if made else ast.unparse(value)


def text_of(statement: ast.stmt | None) -> str:
    """The text of a docstring that follows a field; empty where there is none."""
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
        return plain(str(statement.value.value))
    return ""


def plain(text: str) -> str:
    """In one line."""
    return " ".join(text.split())


def table(head: str, fields: list[Field]) -> Iterator[str]:
    """One line a field, for a page of Markdown."""
    if not fields:
        return
    yield f"| {head} | type | unit | {'default' if head == 'field' else 'required'} | meaning |"
    yield "|---|---|---|---|---|"
    for field in fields:
        default = f"`{field.default}`" if field.default else "required" if field.default is None else ""
        cells = [f"`{field.name}`", kind_words(field.kind), unit(field.name, field.kind), default, field.meaning]
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""


def kind_words(kind: str) -> str:
    """The type as code, with its rows as links."""
    parts = re.split(r"\b(?:rows\.)?([A-Z]\w+)", kind.replace("Bytes", "int"))
    rest = {"None", "Annotated"}
    out = [linked(part) if i % 2 and part not in rest else f"`{part}`" if part else "" for i, part in enumerate(parts)]
    return "".join(out).replace("``", "")


def linked(name: str) -> str:
    """To the section of a row."""
    return f"[{name}](#{name.lower()})"


def unit(name: str, kind: str) -> str:
    """By the end of the name, where the value is a number."""
    numbers = "int" in kind or "float" in kind or "Bytes" in kind
    return next((words for end, words in UNITS.items() if name.endswith(end)), "") if numbers else ""


if __name__ == "__main__":
    sys.exit(main())
