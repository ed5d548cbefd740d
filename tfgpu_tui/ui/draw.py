"""Rows of styled text: what every pane returns. Pure functions; colours are roles, resolved by `palette`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import field
from functools import lru_cache

from rich.cells import cell_len

from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.terminal.lines import TextStyle, printable

Role = str | TextStyle
"""A meaning (`critical`, `muted`, `input`, …; see `palette.ROLES`) or, for the script's own output, its own style."""
Span = tuple[str, Role]
Row = tuple[Span, ...]


@dataclass(frozen=True)
class Glyphs:
    """The characters that a terminal may lack."""

    rule: str = "─"
    corners: str = "╭╮╰╯"
    side: str = "│"
    axis: str = "┤"
    origin: str = "└"
    mark: str = "┴"
    focus: str = "▸"
    running: str = "●"
    ended: str = "■"
    arrow: str = "▸"
    slow: tuple[str, str] = ("◀", "▶")
    opened: str = "▾"
    closed: str = "▸"
    layers: str = "▒█░"
    """Input wait, compute, host: told apart without colours."""
    parts: str = "█▒░▓"
    """Of a bar: four parts told apart without colours."""
    limit: str = "╌"
    dot: str = "·"
    dash: str = "–"
    ellipsis: str = "…"
    times: str = "x"
    up: str = "↑"
    down: str = "↓"
    braille: bool = True
    ascii: bool = False


UNICODE = Glyphs()
ASCII = Glyphs(
    rule="-", corners="++++", side="|", axis="|", origin="+", mark="+", focus=">", running="*", ended="#", arrow=">",
    slow=("<", ">"), opened="-", closed="+", layers=":#.", parts="#:.=", limit="-", dot="|", dash="-", ellipsis="~",
    up="^", down="v", braille=False, ascii=True,
)  # fmt: skip

_TO_ASCII = str.maketrans({
    "–": "-", "—": "-", "…": "~", "·": ".", "µ": "u", "°": " ", "±": "+", "→": ">", "×": "x", "▸": ">", "≥": ">",
    "“": '"', "”": '"', "‘": "'", "’": "'",
})  # fmt: skip


def to_ascii(row: Row) -> Row:
    """The row in 7-bit characters, one for one: for terminals and fonts that have no others."""
    if all(text.isascii() for text, _ in row):
        return row
    out = []
    for text, role in row:
        text = text.translate(_TO_ASCII)
        if not text.isascii():
            text = "".join(c if c.isascii() else "?" * cell_len(c) for c in text)
        out.append((text, role))
    return tuple(out)


@dataclass(frozen=True)
class Box:
    """The room that a pane has, inside its frame, and how its reader uses it."""

    width: int
    height: int
    scroll: int = 0
    cursor: int = 0
    focused: bool = False
    zoomed: bool = False
    shift: int = 0
    """Cells that the text is moved to the left, where a pane's lines are longer than its room."""


@dataclass(frozen=True)
class Content:
    """What a pane shows: a title, rows that stay (a table's head), and `count` rows that scroll, made when needed."""

    title: Row
    right: Row = ()
    pinned: Sequence[Row] = ()
    count: int = 0
    line: Callable[[int], Row] = field(default=lambda _: ())
    box: Role | None = None
    """Role of a frame on all four sides; None for a rule above."""
    bottom: Row = ()
    """Text in the lower edge of the frame."""
    follow: bool = False
    """Shows the newest rows unless its reader scrolled up."""
    selectable: int = 0
    """Items that a cursor can choose; 0 where there is no cursor."""
    shifts: bool = False
    """Its lines may be longer than its room: left and right move them."""


def static(title: Row, rows: Sequence[Row], right: Row = (), pinned: Sequence[Row] = ()) -> Content:
    """A content whose rows are all made."""
    return Content(title=title, right=right, pinned=pinned, count=len(rows), line=rows.__getitem__)


def note(title: Row, text: str, width: int, role: Role = "muted", right: Row = ()) -> Content:
    """A pane that has nothing to draw and says why, in words."""
    return static(title, [((f" {line}", role),) for line in wrap(text, width - 1)], right)


CORNERS = 6
"""Cells of a frame's lower edge that are not for its text."""


def width_of(row: Iterable[Span]) -> int:
    """Cells."""
    return sum(cell_len(text) for text, _ in row)


_SINGLE = frozenset(map(chr, (*range(0x20, 0x7F), *range(0x2500, 0x2600), *range(0x2800, 0x2900)))) | set("–…·µ°±→×≥↑↓")
"""Characters of one cell each that most rows are made of."""


def single_cells(text: str) -> bool:
    """True where each character has a cell of its own."""
    return _SINGLE.issuperset(text) or all(cell_len(char) == 1 for char in text)


def clip(text: str, width: int, ellipsis: str = "…") -> str:
    """`text` cut to `width` cells, with an ellipsis where something is missing."""
    if width <= 0:
        return ""
    if cell_len(text) <= width:
        return text
    room = width - cell_len(ellipsis)
    out = []
    for char in text:
        room -= cell_len(char)
        if room < 0:
            break
        out.append(char)
    return "".join(out).rstrip() + ellipsis if width > 1 else ellipsis


def shifted(row: Row, cells: int) -> Row:
    """The row without its first `cells` cells."""
    out: list[Span] = []
    for text, role in row:
        width = cell_len(text)
        if cells >= width:
            cells -= width
            continue
        while cells > 0:
            cells -= cell_len(text[0])
            text = text[1:]
        out.append((text, role))
    return tuple(out)


def marked(row: Row, words: str, role: Role) -> Row:
    """The row with every place that holds `words` (in any case) in another role."""
    wanted = words.lower()
    if not wanted or wanted not in "".join(text for text, _ in row).lower():
        return row
    text = "".join(text for text, _ in row)
    old = [r for part, r in row for _ in part]
    at = text.lower().find(wanted)
    while 0 <= at < len(old):
        old[at : at + len(wanted)] = [role] * len(wanted)
        at = text.lower().find(wanted, at + len(wanted))
    out: list[Span] = []
    for char, r in zip(text, old, strict=True):
        if out and out[-1][1] == r:
            out[-1] = (out[-1][0] + char, r)
        else:
            out.append((char, r))
    return tuple(out)


def fit(row: Iterable[Span], width: int) -> Row:
    """The row at exactly `width` cells: cut with an ellipsis, or filled with blanks."""
    return _fit(tuple(row), width)


@lru_cache(maxsize=2048)  # most rows of a screen are the same as half a second before
def _fit(row: Row, width: int) -> Row:
    out: list[Span] = []
    left = width
    for text, role in row:
        cells = cell_len(text)
        if cells > left:
            cut = clip(text, left) if left > 0 else ""
            if not cut and out and cells:
                last, last_role = out[-1]
                out[-1] = (clip(last + "…", cell_len(last)), last_role)
            if cut:
                out.append((cut, role))
                left -= cell_len(cut)
            break
        out.append((text, role))
        left -= cells
    if left > 0:
        out.append((" " * left, ""))
    return tuple(out)


def spread(left: Iterable[Span], right: Iterable[Span], width: int, fill: Span = (" ", "")) -> Row:
    """`left`, a filling, `right`, over exactly `width` cells; where both don't fit, `right` gives way."""
    left, right = tuple(left), tuple(right)
    room = width - width_of(left)
    used = width_of(right)
    if used > room - 1:
        return fit((*left, (fill[0] * max(0, room), fill[1])), width)
    return (*left, (fill[0] * (room - used), fill[1]), *right)


def pad(text: str, width: int, right: bool = False) -> str:
    """`text` in a column of `width` cells, cut where it is longer."""
    text = clip(text, width)
    blank = " " * (width - cell_len(text))
    return blank + text if right else text + blank


def wrap(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells, broken at blanks where it can be."""
    lines: list[str] = []
    line = ""
    for word in printable(text).split(" "):
        joined = f"{line} {word}" if line else word
        if cell_len(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        while cell_len(word) > width > 0:
            head = clip(word, width, "")
            if not head:
                break
            lines.append(head)
            word = word[len(head) :]
        line = word
    return [*lines, line] if line or not lines else lines


def wrap_clipped(text: str, width: int, lines: int) -> list[str]:
    """At most `lines` lines; the last one says with an ellipsis that more follows."""
    out = wrap(text, width)
    if len(out) <= lines:
        return out
    return [*out[: lines - 1], clip_words(" ".join(out[lines - 1 :]), width)]


def clip_words(text: str, width: int) -> str:
    """`text` cut to `width` cells between two words where that loses little."""
    cut = clip(text, width)
    if cut == text:
        return text
    at = cut.rfind(" ")
    return cut[:at] + " …" if at > width * 2 // 3 else cut


def frame(content: Content, box: Box, glyphs: Glyphs) -> list[Row]:
    """The whole pane as rows of exactly `box.width` cells; `box` is the pane's outer size."""
    inner = inside(content, box)
    first = first_row(content, inner)
    visible = max(0, inner.height - len(content.pinned))
    body = [*content.pinned][: inner.height]
    body += [content.line(i) for i in range(first, min(content.count, first + visible))]
    body += [()] * (inner.height - len(body))
    more = _position(content, first, visible, glyphs)
    title_role: Role = "focus" if box.focused else "title"
    title = tuple((text, role or title_role) for text, role in content.title)
    mark = glyphs.focus if box.focused else glyphs.rule
    edge: Role = content.box if content.box is not None else ("focus" if box.focused else "rule")
    room = box.width - width_of(title) - 10
    right = _as_many((*content.right, *more), room)
    tail: Row = ((" ", ""), *right, (" ", ""), (glyphs.rule, edge)) if right else ()
    rows: list[Row] = []
    if content.box is None:
        head: Row = ((mark, edge), (" ", ""), *title, (" ", ""))
        rows.append(spread(head, tail, box.width, (glyphs.rule, edge)))
        rows += [fit(row, box.width) for row in body]
    else:
        a, b, c, d = tuple(glyphs.corners)
        head = ((a, edge), (mark, edge), (" ", ""), *title, (" ", ""))
        rows.append((*spread(head, tail, box.width - 1, (glyphs.rule, edge)), (b, edge)))
        left, right_side = ((glyphs.side, edge), (" ", "")), ((" ", ""), (glyphs.side, edge))
        rows += [(*left, *fit(row, inner.width), *right_side) for row in body]
        low: Row = ((c, edge), (glyphs.rule, edge))
        if content.bottom:
            low = (*low, (" ", ""), *fit_loose(content.bottom, box.width - CORNERS), (" ", ""))
        rows.append((*spread(low, (), box.width - 1, (glyphs.rule, edge)), (d, edge)))
    rows = rows[: box.height]
    return [to_ascii(row) for row in rows] if glyphs.ascii else rows


def _as_many(spans: Row, room: int) -> Row:
    """The first spans that fit whole."""
    out: list[Span] = []
    for text, role in spans:
        room -= cell_len(text)
        if room < 0:
            break
        if text:
            out.append((text, role))
    return tuple(out)


def whole_groups(groups: Sequence[Row], width: int, gap: str = "  ") -> Row:
    """The first groups of words that fit into `width` cells, each whole."""
    out: list[Span] = [(" ", "")]
    for group in groups:
        before: Row = ((gap, ""),) if len(out) > 1 else ()
        if width_of((*out, *before, *group)) > width:
            break
        out += (*before, *group)
    return tuple(out)


def flowing(groups: Sequence[Row], width: int, rows: int) -> list[Row]:
    """Groups of words, each whole, in as few rows as they need, and no more than `rows`; the last ones are left out."""
    out: list[Row] = []
    left = list(groups)
    while left and len(out) < rows:
        count = next(n for n in range(len(left), 0, -1) if n == 1 or width_of(_row(left[:n])) <= width)
        out.append(_row(left[:count]))
        left = left[count:]
    return out


def _row(groups: Sequence[Row], gap: str = "  ") -> Row:
    out: Row = ((" ", ""),)
    for i, group in enumerate(groups):
        out = (*out, *(((gap, ""),) if i else ()), *group)
    return out


def fit_loose(row: Row, width: int) -> Row:
    """The row cut to `width` cells, not filled."""
    return row if width_of(row) <= width else fit(row, width)


def inside(content: Content, box: Box) -> Box:
    """The room inside the frame."""
    sides = (4, 2) if content.box is not None else (0, 1)
    return Box(
        max(0, box.width - sides[0]), max(0, box.height - sides[1]), box.scroll, box.cursor, box.focused, box.zoomed,
        box.shift,
    )  # fmt: skip


def scroll_limit(content: Content, box: Box) -> int:
    """How far down the content can scroll in its pane of outer size `box`."""
    return max(0, content.count - (inside(content, box).height - len(content.pinned)))


def first_row(content: Content, inner: Box) -> int:
    """Index of the first scrolled row that is visible. For `follow`, `scroll` counts rows up from the newest."""
    limit = max(0, content.count - (inner.height - len(content.pinned)))
    wanted = min(inner.scroll, limit)
    return limit - wanted if content.follow else wanted


def _position(content: Content, first: int, visible: int, glyphs: Glyphs) -> Row:
    """`3–14 of 61` where not everything fits."""
    if content.count <= visible or visible <= 0:
        return ()
    sep: Row = ((f" {glyphs.dot} ", "muted"),) if content.right else ()
    if content.follow and first + visible >= content.count:
        return ()
    return (*sep, (f"{first + 1}{glyphs.dash}{first + visible} of {content.count}", "muted"))
