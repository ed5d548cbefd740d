"""What the register knows of a finding, as text of any width, as JSON, and as sections for a screen or a page (pure).

Entry -> sections -> blocks (a paragraph, a numbered step, lines of code) -> lines
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Iterator
from typing import Literal

from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.diagnose.register import FAMILIES, REGISTER, Entry, family_of

CODE = "| "
"""What a line of code begins with in the register's texts."""
NEAREST = 4
ALIKE = 0.5
"""How much of two ids must agree (0..1) for one to be what was meant by the other."""
INDENT = " " * 7
"""In front of code."""
WIDEST = 100
"""Columns: longer lines are hard to read."""


class UnknownFinding(LookupError):
    """There is no such id; the text is a whole sentence that names the nearest ones."""


@dataclass(frozen=True)
class Block:
    """A piece of a section: a paragraph, a step of what to do, a point of a list, or code."""

    kind: Literal["text", "step", "point", "code"]
    text: str
    """Of code: its lines as they are; of all else one line, to be wrapped."""
    number: int = 0
    """Of a step."""


@dataclass(frozen=True)
class Section:
    """What belongs under one heading."""

    title: str
    blocks: tuple[Block, ...]


def find(name: str) -> Entry:
    """The entry of an id. Raises UnknownFinding."""
    entry = REGISTER.get(name)
    if entry is None:
        near = nearest(name)
        which = f"the nearest: {', '.join(near)}" if near else "`tfgpu-tui explain` lists them all"
        raise UnknownFinding(f"there is no finding {name[:40]!r}; {which}")
    return entry


def nearest(name: str) -> list[str]:
    """Ids that may have been meant: those that hold what was typed, or look like it."""
    wanted = name.strip().lower()[:80]
    parts = [found for found in REGISTER if wanted and wanted in found]
    last = wanted.rpartition(".")[2]
    alike = difflib.get_close_matches(wanted, REGISTER, NEAREST, ALIKE)
    same_end = [found for found in REGISTER if found.rpartition(".")[2] == last]
    return list(dict.fromkeys([*same_end, *parts, *alike]))[:NEAREST]


def sections(entry: Entry) -> list[Section]:
    """All that there is to say of a finding, in the order in which a person asks."""
    measured = [*_blocks(entry.signal), *(Block("point", str(limit)) for limit in entry.limits)]
    steps = [block for number, step in enumerate(entry.steps, 1) for block in _blocks(step, number)]
    found = {
        "What you see": _blocks(entry.seen),
        "Why it happens": _blocks(entry.why),
        "How it is measured": measured,
        "What to do, in this order": steps,
        "When it is harmless": _blocks(entry.harmless),
        "Without an edit": _knobs(entry),
        "See it": _demo(entry),
    }
    return [Section(title, tuple(blocks)) for title, blocks in found.items() if blocks]


def _blocks(source: str, number: int = 0) -> list[Block]:
    """The paragraphs and the code of a text of the register; the first is the step `number`, where that is one."""
    out: list[Block] = []
    words: list[str] = []
    code: list[str] = []

    def close() -> None:
        if words:
            first = number and not out
            out.append(Block("step" if first else "text", " ".join(words), number if first else 0))
        if code:
            out.append(Block("code", "\n".join(code)))
        words.clear()
        code.clear()

    for line in source.splitlines():
        line = line.strip()
        is_code = line.startswith(CODE.strip())
        if is_code != bool(code) or not line:
            close()
        if is_code:
            code.append(line[len(CODE) :])
        elif line:
            words.append(line)
    close()
    return out


def _knobs(entry: Entry) -> list[Block]:
    return [
        Block("point", f"--set {knob}" if not knob.endswith("=") else f"--set {knob}… (the finding has the value)")
        for knob in entry.knobs
    ] + ([Block("text", "Where the finding offers it, Enter on the screen reruns with it.")] if entry.knobs else [])


def _demo(entry: Entry) -> list[Block]:
    if entry.demo is None:
        return [Block("text", f"There is no demo: {entry.demo_note}.")]
    note = f" ({entry.demo_note})" if entry.demo_note else ""
    return [Block("text", f"In the project's folder{note}:"), Block("code", f"tfgpu-tui {entry.demo}")]


# -- text


def text(entry: Entry, columns: int) -> str:
    """The whole explanation, no line of words wider than `columns`."""
    width = max(40, min(columns, WIDEST))
    out = textwrap.wrap(f"{entry.id}: {entry.means}", width, break_on_hyphens=False)
    for section in sections(entry):
        out += ["", section.title]
        for before, block in zip((None, *section.blocks), section.blocks, strict=False):
            if parted(before, block):
                out.append("")
            out += _lines(block, width)
    return "\n".join([*out, "", *textwrap.wrap(origin(entry), width)])


def origin(entry: Entry) -> str:
    """To which family it belongs, and since when it is said."""
    family = family_of(entry)
    return f"Family {family}: {FAMILIES[family][0]}. Since version {entry.since}."


def parted(before: Block | None, block: Block) -> bool:
    """Whether an empty line stands between two blocks of a section: between paragraphs."""
    return before is not None and before.kind == block.kind == "text"


def _lines(block: Block, width: int) -> Iterator[str]:
    if block.kind == "code":
        yield from (f"{INDENT}{line}" for line in block.text.split("\n"))
        return
    head = {"step": f"  {block.number}. ", "point": "  - "}.get(block.kind, "  ")
    yield from textwrap.wrap(
        block.text, width, initial_indent=head, subsequent_indent=" " * len(head),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def listing(columns: int) -> str:
    """All findings, one line each, by family."""
    out: list[str] = []
    for title, entries in FAMILIES.values():
        width = max(len(entry.id) for entry in entries)
        out += [title, *(_clipped(f"  {entry.id:<{width}}  {entry.means}", columns) for entry in entries), ""]
    return "\n".join([*out, "tfgpu-tui explain ID tells all of one: what you see, why, and what to do."])


def _clipped(line: str, columns: int) -> str:
    return line if len(line) <= columns else line[: columns - 1].rstrip() + "…"


# -- JSON


def as_json(entry: Entry) -> dict[str, object]:
    """The entry as it stands in the register, its texts as paragraphs and code."""
    family = family_of(entry)
    return {
        "id": entry.id,
        "family": family,
        "family_title": FAMILIES[family][0],
        "means": entry.means,
        "seen": _plain(entry.seen),
        "why": _plain(entry.why),
        "signal": _plain(entry.signal),
        "limits": [{"words": str(limit), "value": limit.value} for limit in entry.limits],
        "steps": [_step(step) for step in entry.steps],
        "harmless": _plain(entry.harmless),
        "knobs": list(entry.knobs),
        "demo": entry.demo,
        "demo_note": entry.demo_note or None,
        "ends_run": entry.ends_run,
        "since": entry.since,
    }


def _plain(source: str) -> str:
    return "\n\n".join(block.text for block in _blocks(source))


def _step(source: str) -> dict[str, str | None]:
    blocks = _blocks(source)
    words = " ".join(block.text for block in blocks if block.kind != "code")
    code = "\n".join(block.text for block in blocks if block.kind == "code")
    return {"words": words, "code": code or None}


def all_as_json() -> list[dict[str, object]]:
    """Every finding in one line's worth."""
    return [{"id": e.id, "family": family, "means": e.means, "since": e.since}
            for family, (_, entries) in FAMILIES.items() for e in entries]  # fmt: skip
