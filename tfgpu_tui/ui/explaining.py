"""The explanation of a finding as rows: what the register knows of it, below what this run says."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tfgpu_tui.diagnose import Finding
from tfgpu_tui.diagnose.explain import Block, UnknownFinding, find, origin, parted, sections
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui.draw import Box, Content, Row, wrap
from tfgpu_tui.ui.view import View

CODE_INDENT = " " * 5


def of(finding: Finding) -> Callable[[View, Box], Content]:
    """The content of a page about this finding."""

    def content(view: View, box: Box) -> Content:
        rows = list(_rows(finding, box.width - 4))
        glyphs = view.glyphs
        return Content(
            title=((finding.id, ""),),
            right=((f"Esc closes, {glyphs.up} {glyphs.down} scroll", "muted"),),
            count=len(rows),
            line=rows.__getitem__,
            box=finding.severity,
        )

    return content


def _rows(finding: Finding, width: int) -> Iterator[Row]:
    yield from (((line, "bold"),) for line in wrap(printable(finding.title), width))
    try:
        entry = find(finding.id)
    except UnknownFinding as error:
        yield from (((line, "muted"),) for line in wrap(str(error), width))
        return
    yield from (((line, "muted"),) for line in wrap(f"{entry.means}. {origin(entry)}", width))
    for section in sections(entry):
        yield ()
        yield ((section.title, "title"),)
        for before, block in zip((None, *section.blocks), section.blocks, strict=False):
            if parted(before, block):
                yield ()
            yield from _of_block(block, width)


def _of_block(block: Block, width: int) -> Iterator[Row]:
    if block.kind == "code":
        yield from (((CODE_INDENT, ""), (line, "info")) for line in block.text.split("\n"))
        return
    head = {"step": f" {block.number} ", "point": " - "}.get(block.kind, " ")
    for i, line in enumerate(wrap(block.text, width - len(head))):
        yield ((head if i == 0 else " " * len(head), "key"), (line, ""))
