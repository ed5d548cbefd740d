"""Writes docs/findings.md from the register of findings; a test compares the two.

python -m tools.findings_doc
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from tfgpu_tui.diagnose.explain import Block, sections
from tfgpu_tui.diagnose.register import ENDINGS, FAMILIES, REGISTER, Entry

PAGE = Path(__file__).resolve().parents[1] / "docs" / "findings.md"
HEAD = f"""\
# The findings

What `tfgpu-tui` can say of a training: {len(REGISTER)} findings in {len(FAMILIES)} families. `tfgpu-tui explain ID`
prints the same in a terminal, `w` opens it for the chosen finding on the screen. Written by
`python -m tools.findings_doc` from the register in `tfgpu_tui/diagnose/register/`: change it there.

A finding needs its signal, measured, and has its numbers in `evidence`; where a signal is missing it says so
(`incomplete`). They are ranked: critical before warning before info; within these first what ended the run
({", ".join(name for name in REGISTER if name in ENDINGS)}), then by the
share of step time that each explains.
"""
COLUMNS = 120
_MARKS = re.compile(r"[*<]|(?<!\w)_+|_+(?!\w)")


def page() -> str:
    """The whole page."""
    parts = [HEAD, _contents()]
    for title, entries in FAMILIES.values():
        parts.append(f"## {title}\n")
        parts += ["\n".join(_entry(entry)) for entry in entries]
    return "\n".join(parts)


def _contents() -> str:
    rows = ["| finding | what is wrong |", "|---|---|"]
    for title, entries in FAMILIES.values():
        rows.append(f"| **{title}** | |")
        rows += [f"| [{e.id}](#{_anchor(e.id)}) | {e.means} |" for e in entries]
    return "\n".join([*rows, ""])


def _anchor(heading: str) -> str:
    """As GitHub makes it of a heading: dots go, underscores stay."""
    return heading.replace(".", "")


def _entry(entry: Entry) -> Iterator[str]:
    yield f"### {entry.id}\n"
    yield f"*{entry.means}* (since {entry.since})\n"
    for section in sections(entry):
        yield f"**{section.title}**\n"
        for before, block in zip((None, *section.blocks), section.blocks, strict=False):
            yield from _lines(block, section.blocks[0].kind == "step", before)
        yield ""


def _lines(block: Block, of_steps: bool, before: Block | None) -> Iterator[str]:
    """A block as Markdown; in a list of steps, code and more words stand below the step that they belong to. They are
    indented by four, which every reader of Markdown takes for part of the step."""
    indent = "    " if of_steps else ""
    if block.kind == "code":
        yield from (f"{indent}{line}".rstrip() for line in ("", "```", *block.text.split("\n"), "```"))
        return
    if before is not None and (before.kind in ("code", "text") or block.kind == "text"):
        yield ""
    head = {"step": f"{block.number}. ", "point": "- "}.get(block.kind, indent)
    yield from textwrap.wrap(
        _escaped(block.text), COLUMNS, initial_indent=head, subsequent_indent=" " * len(head),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _escaped(text: str) -> str:
    """What Markdown would take for its own stands for itself; between backticks it does anyway."""
    parts = text.split("`")
    parts[::2] = [_MARKS.sub(lambda found: "".join(f"\\{c}" for c in found[0]), part) for part in parts[::2]]
    return "`".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE}: {len(REGISTER)} findings")
