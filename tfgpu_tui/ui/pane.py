"""The one widget that draws a pane: it keeps the rows last drawn and repaints only the cells that changed.

Textual has no cell diff of its own: a widget that refreshes sends all its cells again. Comparing rows here and
refreshing by `Region` is what keeps a screen of twelve panes at a few kilobytes a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from tfgpu_tui.terminal import printable
from tfgpu_tui.ui.draw import Box, Content, Row, frame, inside, scroll_limit
from tfgpu_tui.ui.palette import Palette, shows_on_blank
from tfgpu_tui.ui.view import View

SHIFT_CELLS = 20


class RowsWidget(Widget, can_focus=False):
    """Draws rows of spans; `show` repaints what differs from the rows before."""

    ALLOW_SELECT = False

    def __init__(self, name: str, palette: Callable[[], Palette], classes: str | None = None) -> None:
        super().__init__(id=name, classes=classes)
        self._palette = palette
        self._rows: list[Row] = []
        self._base: Style | None = None

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
        dirty = [
            Region(start, y, end - start, 1)
            for y, (a, b) in enumerate(zip(old, rows, strict=True))
            if a != b
            for start, end in (changed_cells(a, b),)
        ]
        if dirty:
            self.refresh(*dirty)

    def render_lines(self, crop: Region) -> list[Strip]:
        self._base = None  # the theme or the focus may have changed it since
        return super().render_lines(crop)

    def render_line(self, y: int) -> Strip:
        if self._base is None:
            self._base = self.rich_style  # looked up through all ancestors: once for all lines
        base, width = self._base, self.size.width
        if y >= len(self._rows):
            return Strip.blank(width, base)
        style = self._palette().style
        # Panes make names printable where they take them; this is the last door before the terminal.
        spans = [(text if text.isprintable() else printable(text), style(role)) for text, role in self._rows[y] if text]
        segments = [Segment(text, base + look) for text, look in joined(spans)]
        return Strip(segments).adjust_cell_length(width, base)


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


def changed_cells(old: Row, new: Row) -> tuple[int, int]:
    """First and one past the last cell that differ; the whole row where wide characters make cells uneven."""
    old_text, new_text = "".join(t for t, _ in old), "".join(t for t, _ in new)
    length = max(len(old_text), len(new_text))
    if cell_len(new_text) != len(new_text) or cell_len(old_text) != len(old_text):
        return 0, max(cell_len(old_text), cell_len(new_text), 1)
    a = [(char, role) for text, role in old for char in text]
    b = [(char, role) for text, role in new for char in text]
    if len(a) != len(b):
        return 0, max(length, 1)
    different = [i for i, (x, y) in enumerate(zip(a, b, strict=True)) if x != y]
    # Rows can differ in how they are cut into spans and still look the same.
    return (different[0], different[-1] + 1) if different else (0, 1)


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
    ) -> None:
        super().__init__(name, palette)
        self.pane_name = name
        self.scroll = 0
        self.cursor = 0
        self.shift = 0
        self.zoomed = False
        self._make = content
        self._view = view

    def redraw(self) -> None:
        """Draws the view as it is now."""
        if not self.display or not self.size:
            return
        content, box = self._content()
        self.scroll = min(self.scroll, scroll_limit(content, box))
        self.cursor = max(0, min(self.cursor, content.selectable - 1))
        self.show(frame(content, self._outer(), self._view().glyphs))

    def _outer(self) -> Box:
        width, height = self.size
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
