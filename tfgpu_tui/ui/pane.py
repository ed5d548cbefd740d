"""The one widget that draws a pane: it keeps the rows last drawn and repaints only the cells that changed.

Textual has no cell diff of its own: a widget that refreshes sends all its cells again. Comparing rows here and
refreshing by `Region` is what keeps a screen of twelve panes at a few kilobytes a second.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.color import Color
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui.draw import Box, Content, Role, Row, frame, inside, scroll_limit, single_cells
from tfgpu_tui.ui.palette import Palette, shows_on_blank
from tfgpu_tui.ui.repaint import Painter
from tfgpu_tui.ui.view import View

if TYPE_CHECKING:
    from typing_extensions import Self

SHIFT_CELLS = 20
_UNKNOWN = Color(0, 0, 0)
JUMP_CELLS = 12
"""Cells that did not change and cost less to send again than a jump over them."""


class RowsWidget(Widget, can_focus=False):
    """Draws rows of spans; `show` repaints what differs from the rows before."""

    ALLOW_SELECT = False

    def __init__(self, name: str, palette: Callable[[], Palette], classes: str | None = None) -> None:
        super().__init__(id=name, classes=classes)
        self._palette = palette
        self._rows: list[Row] = []
        self._strips: dict[int, Strip] = {}
        """By row: what it looks like on the terminal."""
        self._base: Style | None = None
        self._background = _UNKNOWN
        self._codes: dict[Style, tuple[str, ...]] = {}
        """What the terminal is told before and after text in a style."""
        self._width = 0
        """That the strips were made for."""

        self.painter: Painter | None = None
        """Sends what changed, where Textual need not."""

    @property
    def shown_rows(self) -> list[Row]:
        """What is on the screen now."""
        return self._rows

    def show(self, rows: list[Row]) -> None:
        """Replaces the rows; each should be exactly as wide as the widget."""
        old, self._rows = self._rows, rows
        if len(old) != len(rows):
            self.refresh()
            return
        dirty = []
        for y, (a, b) in enumerate(zip(old, rows, strict=True)):
            if a is not b and a != b:
                dirty += [Region(start, y, end - start, 1) for start, end in changed_cells(a, b)]
                self._strips.pop(y, None)
        if dirty:
            self.refresh(*dirty)

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Without regions everything is made anew: its style may be another one."""
        if not regions:
            self._base = None
            self._strips.clear()
        elif self.painter is not None and self.painter.takes(self, self.cells, regions):
            return self
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Whatever changes on the screen, Textual asks every widget for all of its lines: each is made once.
        `Widget.render_lines` (8.2.8) would look for borders, padding and opacity besides, which no widget here has."""
        if self._width != self.size.width:
            self._width = self.size.width
            self._strips.clear()
        strips = [self.render_line(y) for y in crop.line_range]
        if crop.x == 0 and all(strip.cell_length == crop.width for strip in strips):
            return strips
        return [strip.crop(*crop.column_span) for strip in strips]

    def render_line(self, y: int) -> Strip:
        strip = self._strips.get(y)
        if strip is None:
            strip = self._strips[y] = self._strip(y)
        return strip

    def cells(self, y: int, start: int, end: int, console: Console) -> str:
        """For the terminal: what stands in a row from the cell `start` to the one before `end`, as `changed_cells` told
        them."""
        if start == 0:
            return self.render_line(y).crop(0, end).render(console)
        out: list[str] = []
        for text, style in self._spans(between(self._rows[y], start, end)):
            ends = self._codes.get(style)
            if ends is None:
                probe = self._strip_of([("x", style)]).render(console)
                ends = self._codes[style] = tuple(probe.split("x"))
            out += (ends[0], text, ends[1])
        return "".join(out)

    def _strip(self, y: int) -> Strip:
        width = self._width or self.size.width
        if y >= len(self._rows):
            return Strip.blank(width, self._look())
        return self._strip_of(self._spans(self._rows[y])).adjust_cell_length(width, self._look())

    def _spans(self, row: Row) -> list[tuple[str, Style]]:
        style = self._palette().style
        # Panes make names printable where they take them; this is the last door before the terminal.
        return joined([(text if text.isprintable() else printable(text), style(role)) for text, role in row if text])

    def _strip_of(self, spans: list[tuple[str, Style]]) -> Strip:
        base = self._look()
        strip = Strip(Segment(text, base + look) for text, look in spans)
        for line_filter in self.get_line_filters():
            strip = strip.apply_filter(line_filter, self._background)
        return strip

    def _look(self) -> Style:
        if self._base is None:
            # Looked up through all ancestors.
            self._base, self._background = self.rich_style, self.background_colors[1]
            self._codes.clear()
        return self._base


def joined(spans: list[tuple[str, Style]]) -> list[tuple[str, Style]]:
    """Fewer spans that look the same: equal neighbours together, and blanks in the style beside them where neither
    shows on a blank. Each change of style costs up to 40 bytes on the way to the terminal."""
    out: list[tuple[str, Style]] = []
    for text, style in spans:
        if out:
            before, last = out[-1]
            if style == last or (not text.strip(" ") and not shows_on_blank(style) and not shows_on_blank(last)):
                out[-1] = (before + text, last)
                continue
            if not before.strip(" ") and not shows_on_blank(style) and not shows_on_blank(last):
                out[-1] = (before + text, style)
                continue
        out.append((text, style))
    return out


def changed_cells(old: Row, new: Row) -> list[tuple[int, int]]:
    """First and one past the last cell of each part that differs; the whole row where wide characters make cells
    uneven, or its length changed. Parts that lie close together are one: to jump costs bytes, too."""
    old_text, new_text = "".join(t for t, _ in old), "".join(t for t, _ in new)
    if len(old_text) != len(new_text) or not (single_cells(old_text) and single_cells(new_text)):
        return [(0, max(cell_len(old_text), cell_len(new_text), 1))]
    parts: list[tuple[int, int]] = []
    for i in _differing(old, new):
        if parts and i - parts[-1][1] < JUMP_CELLS:
            parts[-1] = (parts[-1][0], i + 1)
        else:
            parts.append((i, i + 1))
    return parts


def _differing(old: Row, new: Row) -> Iterator[int]:
    """The cells that differ, of two rows of the same length."""
    at = 0
    if [(len(text), role) for text, role in old] == [(len(text), role) for text, role in new]:
        for (a, _), (b, _) in zip(old, new, strict=True):
            if a != b:
                yield from (i for i, (x, y) in enumerate(zip(a, b, strict=True), at) if x != y)
            at += len(a)
        return
    while old and new and old[0] == new[0]:
        at += len(old[0][0])
        old, new = old[1:], new[1:]
    # Rows can differ in how they are cut into spans and still look the same.
    was = ((char, role) for text, role in old for char in text)
    now = ((char, role) for text, role in new for char in text)
    yield from (i for i, (x, y) in enumerate(zip(was, now, strict=True), at) if x != y)


def between(row: Row, start: int, end: int) -> Row:
    """The spans of a row whose characters have one cell each, from the cell `start` to the one before `end`."""
    out: list[tuple[str, Role]] = []
    at = 0
    for text, role in row:
        part = text[max(0, start - at) : max(0, end - at)]
        if part:
            out.append((part, role))
        at += len(text)
    return tuple(out)


class Pane(RowsWidget, can_focus=True):
    """One pane: asks its function for content, frames it, scrolls it."""

    class Selected(Message):
        """A click focused the pane, twice: its reader wants it larger."""

        def __init__(self, pane: Pane) -> None:
            super().__init__()
            self.pane = pane

    class Sideways(Message):
        """Left (-1) or right (1) was pressed in a pane that does not move its own text."""

        def __init__(self, pane: Pane, step: int) -> None:
            super().__init__()
            self.pane = pane
            self.step = step

    def __init__(
        self,
        name: str,
        content: Callable[[View, Box], Content],
        view: Callable[[], View],
        palette: Callable[[], Palette],
        drawn_from: Callable[[View], object] | None = None,
    ) -> None:
        super().__init__(name, palette)
        self.pane_name = name
        self.scroll = 0
        self.cursor = 0
        self.shift = 0
        self.zoomed = False
        self._make = content
        self._view = view
        self._drawn_from = drawn_from
        self.place_size = Size(0, 0)
        """What Textual's layout will give it: so its rows are there before that, and in the first paint."""
        self._drawn: object = None
        """What the rows that are shown were drawn from."""

    def redraw(self, anew: bool = True) -> None:
        """Draws the view as it is now; unless `anew`, only where that may look another way."""
        if not self.display or not (self.outer_size or self.place_size):
            return
        told = self._drawn_from(self._view()) if self._drawn_from is not None else None
        drawn = None if told is None else (told, self._outer())
        if drawn is not None and drawn == self._drawn and not anew:
            return
        self._drawn = drawn
        content, box = self._content()
        self.scroll = min(self.scroll, scroll_limit(content, box))
        self.cursor = max(0, min(self.cursor, content.selectable - 1))
        self.show(frame(content, replace(box, scroll=self.scroll, cursor=self.cursor), self._view().glyphs))

    def wanted_rows(self, width: int) -> int:
        """Rows that would show all of it, its title included."""
        content = self._make(self._view(), Box(width, 0))
        return 1 + len(content.pinned) + content.count

    def _outer(self) -> Box:
        width, height = self.outer_size or self.place_size  # no pane has a border or padding of Textual's
        return Box(width, height, self.scroll, self.cursor, self.has_focus, self.zoomed, self.shift)

    def _content(self) -> tuple[Content, Box]:
        outer = self._outer()
        return self._make(self._view(), replace(outer, height=outer.height - 1)), outer

    def on_resize(self) -> None:
        self.redraw()

    def on_focus(self) -> None:
        self.redraw()

    def on_blur(self) -> None:
        self.redraw()

    def scroll_rows(self, rows: int) -> bool:
        """Down by `rows` (up where negative); False where there was nowhere to go."""
        content, box = self._content()
        if content.selectable > 1 and (abs(rows) == 1 or content.selectable == content.count):
            wanted = max(0, min(content.selectable - 1, self.cursor + rows))
            moved = wanted != self.cursor
            self.cursor = wanted
            self.scroll = min(scroll_limit(content, box), self._row_of_cursor(content, box))
        else:
            step = -rows if content.follow else rows
            wanted = max(0, min(scroll_limit(content, box), self.scroll + step))
            moved, self.scroll = wanted != self.scroll, wanted
        self.redraw()
        return moved

    def _row_of_cursor(self, content: Content, box: Box) -> int:
        """Keeps the chosen item in sight: its first row, less a little context."""
        rows = [i for i in range(content.count) if any(role == "cursor" for _, role in content.line(i))]
        if not rows or rows[0] < self.scroll + 1 or rows[0] >= self.scroll + inside(content, box).height - 3:
            return max(0, (rows[0] if rows else 0) - 1)
        return self.scroll

    def reveal(self, row: int) -> None:
        """Scrolls so that this row of the content stands in the middle, and puts the cursor there."""
        content, box = self._content()
        room = inside(content, box).height - len(content.pinned)
        limit = scroll_limit(content, box)
        first = max(0, min(limit, row - room // 2))
        self.scroll = limit - first if content.follow else first
        if content.selectable:
            self.cursor = row
        self.redraw()

    def on_key(self, event: events.Key) -> None:
        sideways = {"left": -1, "right": 1}.get(event.key)
        if sideways is not None:
            event.stop()
            if self._content()[0].shifts:
                self.shift = max(0, self.shift + sideways * SHIFT_CELLS)
                self.redraw()
            else:
                self.post_message(self.Sideways(self, sideways))
            return
        page = max(1, self.size.height - 3)
        moves = {"up": -1, "down": 1, "pageup": -page, "pagedown": page, "home": -(10**9), "end": 10**9}
        if event.key in moves:
            event.stop()
            self.scroll_rows(moves[event.key])

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_rows(3)

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_rows(-3)

    def on_click(self, event: events.Click) -> None:
        if event.chain == 2:
            event.stop()
            self.post_message(self.Selected(self))
