"""A read-only table as rows of text: where it is tight its columns give way, the least important first."""

from __future__ import annotations

from collections.abc import Sequence

from rich.cells import cell_len

from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.ui.draw import Role, Row, pad

Cell = tuple[str, Role]
GAP = 2


@dataclass(frozen=True)
class Column:
    """One column: its head, its side, how narrow it may get, and how early it gives way (0 never)."""

    head: str
    right: bool = False
    least: int = 4
    most: int = 200
    yields: int = 0
    grow: bool = False
    """Takes the room that is left over."""
    path: bool = False
    """What is too long loses its folders from the left, as many as it must."""


def _width(text: str) -> int:
    """Cells; of most texts that is their length, which is known at once."""
    return len(text) if text.isascii() else cell_len(text)


def layout(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int) -> dict[int, int]:
    """Column index -> width in cells. Columns with the highest `yields` go first, then wide columns are cut."""
    need = {i: min(c.most, max([_width(c.head), *(_width(r[i][0]) for r in rows)])) for i, c in enumerate(columns)}
    shown = dict(need)

    def total(of: dict[int, int]) -> int:
        return sum(of.values()) + GAP * (len(of) - 1)

    def least(of: dict[int, int]) -> int:
        return total({i: min(w, columns[i].least) for i, w in of.items()})

    while len(shown) > 1 and least(shown) > width:
        droppable = [i for i in shown if columns[i].yields]
        if not droppable:
            break
        del shown[max(droppable, key=lambda i: (columns[i].yields, i))]
    over = total(shown) - width
    while over > 0:
        widest = max(shown, key=lambda i: shown[i] - min(shown[i], columns[i].least))
        room = shown[widest] - columns[widest].least
        if room <= 0:
            break
        cut = min(over, max(1, room // 2))
        shown[widest] -= cut
        over -= cut
    growing = [i for i in shown if columns[i].grow]
    if over < 0 and growing:
        shown[growing[-1]] += -over
    return shown


def head(columns: Sequence[Column], widths: dict[int, int]) -> Row:
    """The row of column names."""
    return _join([(pad(columns[i].head, w, columns[i].right), "muted") for i, w in widths.items()])


def body(columns: Sequence[Column], cells: Sequence[Cell], widths: dict[int, int]) -> Row:
    """One row."""
    return _join([(_cut(cells[i][0], w, columns[i]), cells[i][1]) for i, w in widths.items()])


def _cut(text: str, width: int, column: Column) -> str:
    while column.path and cell_len(text) > width and "/" in text:
        text = text.partition("/")[2]
    return pad(text, width, column.right)


def _join(parts: list[Cell]) -> Row:
    out: list[Cell] = []
    for i, part in enumerate(parts):
        if i:
            out.append((" " * GAP, ""))
        out.append(part)
    return tuple(out)
