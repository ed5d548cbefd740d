"""What goes to the terminal for a change: the cells that changed, and no others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

from rich.console import Console, RenderableType
from textual._compositor import ChopsUpdate, CompositorUpdate

if TYPE_CHECKING:
    from textual.app import App
    from textual.geometry import Region
    from textual.widget import Widget


Result = TypeVar("Result")
Cells = Callable[[int, int, int, Console], str]
"""Of a row, the first cell and one past the last: what the terminal is told."""


class CellsUpdate(ChopsUpdate):
    """Textual's own (`_compositor.py`, ChopsUpdate.render_segments, 8.2.8) knows which cells changed, and sends each
    line from the left edge of its widget up to them: of a plot that grows at its right end, all of it."""

    def render_segments(self, console: Console) -> str:
        out: list[str] = []
        for y, left, right in self.spans:
            for end, (begin, strip) in zip(self.chop_ends[y], self.chops[y].items(), strict=True):
                first, last = max(left, begin), min(right, end)
                if strip is not None and first < last:
                    out.append(f"\x1b[{y + 1};{first + 1}H")
                    out.append(strip.crop(first - begin, last - begin).render(console))
        return "".join(out)


def only_what_changed(update: RenderableType | None) -> RenderableType | None:
    """The same update, in fewer bytes where it can be."""
    if isinstance(update, ChopsUpdate):
        return CellsUpdate(update.chops, update.spans, update.chop_ends)
    return update


class _Cells(CompositorUpdate):
    """What the terminal is told: moves, and cells with their styles."""

    def __init__(self, told: str) -> None:
        self._told = told

    def __rich__(self) -> str:
        return self._told

    def render_segments(self, console: Console) -> str:
        return self._told


class Painter:
    """Sends all that one drawing changed in one write. By Textual's own way (8.2.8) a change of one cell wakes a task
    of its widget and a timer of the screen, and asks all widgets in between for all of their lines
    (`Screen._on_idle`, `Compositor._render_chops`): that was a third of what this screen cost."""

    def __init__(self, app: App[Result]) -> None:
        self._app: App[object] = cast("App[object]", app)
        self._parts: list[str] | None = None

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """While it is open, changed cells come to `takes`. Where anything lies over the widgets, or they are about to
        be placed anew or taken down, it stays shut, and the change goes Textual's way."""
        app, stack = self._app, self._app.screen_stack
        if app._batch_count or len(stack) != 1 or stack[0]._layout_required or stack[0]._scroll_required:
            yield
            return
        self._parts = []
        try:
            yield
        finally:
            parts, self._parts = self._parts, None
        if parts:
            app._display(stack[0], _Cells("".join(parts)))

    def takes(self, widget: Widget, cells: Cells, regions: tuple[Region, ...]) -> bool:
        """True where these cells of the widget will be sent when the drawing ends; `cells` makes them."""
        if self._parts is None:
            return False
        region, clip = self._app.screen._compositor.visible_widgets.get(widget, (None, None))
        if region is None or clip is None or region.size != widget.outer_size or not clip.contains_region(region):
            return False
        for r in regions:
            told = cells(r.y, r.x, r.right, self._app.console)
            self._parts.append(f"\x1b[{region.y + r.y + 1};{region.x + r.x + 1}H{told}")
        return True
