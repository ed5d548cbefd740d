"""The fleet's screen: one table over all live runs. It ends with the run that its reader wants to see."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import threading
from collections.abc import Callable

from rich.console import RenderableType
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES

from tfgpu_tui.core.fleet import Row
from tfgpu_tui.fleet.watch import Fleet, Picture
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.terminal.lines import TerminalLines
from tfgpu_tui.ui import fleet_view
from tfgpu_tui.ui.draw import ASCII, UNICODE, Box, Content
from tfgpu_tui.ui.fleet_view import Look
from tfgpu_tui.ui.palette import Palette
from tfgpu_tui.ui.pane import Pane, RowsWidget
from tfgpu_tui.ui.picker import Prompt
from tfgpu_tui.ui.repaint import Painter, only_what_changed
from tfgpu_tui.ui.view import View

PERIOD_S = 1.0
READ_BUDGET_S = 0.07
CATCH_UP_S = 0.1
FOOT_ROWS = 2
GONE_S = 5.0


class _Table(Pane):
    """Says at once that its cursor moved: the next tick would put it back on the run that was chosen before."""

    moved: Callable[[], None] = staticmethod(lambda: None)

    def scroll_rows(self, rows: int) -> bool:
        moved = super().scroll_rows(rows)
        self.moved()
        return moved


class FleetApp(App[Row | None]):
    """Returns the row that was opened, or None where its reader left."""

    CSS_PATH = "app.tcss"
    TITLE = "tfgpu-tui fleet"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    AUTO_FOCUS = "#fleet"
    BINDINGS = [
        Binding("enter", "open"),
        Binding("s", "sort"),
        Binding("r", "reverse"),
        Binding("slash", "filter"),
        Binding("escape", "clear"),
        Binding("q,ctrl+c", "leave", priority=True),
    ]

    def __init__(self, fleet: Fleet, settings: Settings, look: Look, *, theme: str) -> None:
        super().__init__(ansi_color=BUILTIN_THEMES[theme].ansi)
        self.theme = theme
        self._fleet, self.look = fleet, look
        self.picture = Picture(behind=True)
        self._view = View(lines=TerminalLines(), glyphs=ASCII if settings.ascii else UNICODE)
        palette = Palette(BUILTIN_THEMES[theme])
        self._pane = _Table("fleet", self._content, lambda: self._view, lambda: palette)
        self._pane.moved = self._cursor_moved
        self._foot = RowsWidget("footer", lambda: palette)
        self._painter = self._pane.painter = self._foot.painter = Painter(self)
        self._palette = palette
        self._kept = gc.get_freeze_count() > 0
        self.crash: Exception | None = None

    def compose(self) -> ComposeResult:
        yield self._pane
        yield self._foot

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self._end, number)
        self._catching_up = self.set_interval(CATCH_UP_S, self._catch_up, pause=True)
        self._arrange()
        self._tick()
        self.set_interval(PERIOD_S, self._tick)

    def _end(self, number: int) -> None:
        """Textual's last words to a terminal that is gone may never be taken, and it waits for that: not for ever."""
        late = threading.Timer(GONE_S, os._exit, (128 + number,))
        late.daemon = True
        late.start()
        self.exit()

    def _fatal_error(self) -> None:
        """As MonitorApp's: Textual's own would print the locals of every frame."""
        error = sys.exc_info()[1]
        if self.is_headless or not isinstance(error, Exception):
            super()._fatal_error()
            return
        self.crash = self.crash or error
        self._close_messages_no_wait()

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        """Textual's last step before its driver writes (`App._display`, 8.2.8)."""
        super()._display(screen, only_what_changed(renderable))

    def on_resize(self) -> None:
        self.call_later(self._arrange)

    def _arrange(self) -> None:
        width, height = self.size
        for widget, top, rows in ((self._pane, 0, height - FOOT_ROWS), (self._foot, height - FOOT_ROWS, FOOT_ROWS)):
            widget.styles.offset = (0, top)
            widget.styles.width, widget.styles.height = width, max(1, rows)
        self.call_after_refresh(self.draw)

    # Reading and drawing.

    def _catch_up(self) -> None:
        """Between ticks, while there is history to read."""
        self._tick()

    def _tick(self) -> None:
        self.picture = self._fleet.read(READ_BUDGET_S)
        if self.picture.behind:
            self._catching_up.resume()
        else:
            self._catching_up.pause()
            self._keep()
        self.draw()

    def _keep(self) -> None:
        """Once: modules, widgets and the runs' histories stay, and need not be looked through again and again."""
        if not self._kept:
            self._kept = True
            gc.freeze()

    def draw(self) -> None:
        """What changed; the cursor stays on its run."""
        runs = fleet_view.shown(self.picture, self.look)
        keys = [run.key for run in runs]
        if self.look.chosen in keys:
            self._pane.cursor = keys.index(self.look.chosen)
        with self._painter.drawing():
            self._pane.redraw()
            self._chosen(runs)

    def _chosen(self, runs: list[Row]) -> None:
        self.look.chosen = runs[self._pane.cursor].key if self._pane.cursor < len(runs) else None
        self._foot.show(fleet_view.foot(self.picture, self.look, self.size.width))

    def _content(self, view: View, box: Box) -> Content:
        return fleet_view.content(self.picture, self.look, box)

    def _cursor_moved(self) -> None:
        self._chosen(fleet_view.shown(self.picture, self.look))

    # Keys.

    def action_open(self) -> None:
        """Ends this screen with the chosen run."""
        found = next((run for run in self.picture.rows if run.key == self.look.chosen), None)
        if found is not None:
            self.exit(found)

    def action_sort(self) -> None:
        """By the next column."""
        self.look.order = (self.look.order + 1) % len(fleet_view.ORDERS)
        # Numbers are looked at from their largest on.
        self.look.reverse = fleet_view.ORDERS[self.look.order].name not in ("job and rank", "host", "script", "finding")
        self.draw()

    def action_reverse(self) -> None:
        """The other way round."""
        self.look.reverse = not self.look.reverse
        self.draw()

    def action_filter(self) -> None:
        """Only rows with these words."""
        self.push_screen(
            Prompt("filter", "host, job, script, finding; Enter keeps it, Esc shows all again", lambda: self._view,
                   lambda: self._palette, text=self.look.words, typing=self._narrow),
            lambda text: self._narrow(text or ""),
        )  # fmt: skip

    def _narrow(self, words: str) -> None:
        self.look.words = words
        self.draw()

    def action_clear(self) -> None:
        """All rows again."""
        if self.look.words:
            self._narrow("")

    def action_leave(self) -> None:
        """Back to the shell."""
        self.exit(None)


def choose(fleet: Fleet, settings: Settings, look: Look, theme: str) -> Row | None:
    """Shows the fleet until its reader opens a run, or leaves (None). What went wrong in the screen is raised when the
    terminal is a terminal again."""
    app = FleetApp(fleet, settings, look, theme=theme)
    found = app.run()
    if app.crash is not None:
        raise app.crash
    return found
