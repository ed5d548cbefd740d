"""This run against the one before it, row by row, with what changed in words first."""

from __future__ import annotations

from tfgpu_tui import compare as core
from tfgpu_tui.terminal import printable
from tfgpu_tui.ui import table
from tfgpu_tui.ui.draw import Box, Content, Role, Row, note, wrap
from tfgpu_tui.ui.table import Cell, Column
from tfgpu_tui.ui.view import View

WORDS: dict[bool | None, tuple[str, Role]] = {True: ("better", "good"), False: ("worse", "warning"), None: ("", "")}


def content(view: View, box: Box) -> Content:
    """The sentence, then a table with one row a measure."""
    if view.before is None:
        return note(
            (("compare", ""),),
            "nothing to compare yet: r reruns this script (g changes memory growth first), and the new run is set "
            "against this one",
            box.width,
        )
    old, new = view.before, view.state
    columns = (
        Column("", least=10, most=28),
        Column("before", right=True, least=12),
        Column("now", right=True, least=12),
        Column("change", right=True, least=12),
    )
    rows: list[list[Cell]] = []
    for row in core.rows(old, new):
        word, role = WORDS[row.better]
        rows.append([(printable(row.label), "muted"), (printable(row.before), ""), (printable(row.after), "bold"),
                     (f"{row.change} {word}".rstrip(), role)])  # fmt: skip
    widths = table.layout(columns, rows, box.width - 1)
    words: list[Row] = [((line, "bold"),) for line in wrap(core.sentence(old, new), box.width)]
    head: Row = ((" ", ""), *table.head(columns, widths))
    return Content(
        title=(("compare with the run before", ""),),
        pinned=[*words, head],
        count=len(rows),
        line=lambda i: ((" ", ""), *table.body(columns, rows[i], widths)),
    )
