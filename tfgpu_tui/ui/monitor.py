"""The monitor as a Textual app: a timer reads the session, one message a tick redraws the panes, keys act."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from textual.app import App, ComposeResult
from textual.message import Message
from textual.theme import BUILTIN_THEMES

from tfgpu_tui.config import Settings
from tfgpu_tui.rundir import RunDir
from tfgpu_tui.state import RunState
from tfgpu_tui.ui import keys
from tfgpu_tui.ui.control import Control, RealControl
from tfgpu_tui.ui.dialogs import QUIT, RERUN, Choice, Dialog, Help
from tfgpu_tui.ui.draw import ASCII, UNICODE, Row
from tfgpu_tui.ui.layout import MIN_COLUMNS, MIN_ROWS, arrange
from tfgpu_tui.ui.palette import Palette
from tfgpu_tui.ui.pane import Pane, RowsWidget
from tfgpu_tui.ui.panes import PANES, metric, status
from tfgpu_tui.ui.session import PRECIOUS_S, Session
from tfgpu_tui.ui.view import View

LEAVE_LIMIT_S = 3

CATCH_UP_PERIOD_S = 0.1
MIN_SCRIPT_COLUMNS, MIN_SCRIPT_ROWS = 40, 10


class Ticked(Message):
    """The session was read: everything that changed is in the view."""


class MonitorApp(App[int]):
    """The screen of one run, and of its reruns. Returns the script's exit status once it has ended, else 0."""

    CSS_PATH = "app.tcss"
    TITLE = "tfgpu-tui"
    ENABLE_COMMAND_PALETTE = False
    ALLOW_SELECT = False
    AUTO_FOCUS = "#findings"
    BINDINGS = keys.bindings()

    def __init__(
        self,
        run: RunDir,
        settings: Settings,
        *,
        theme: str,
        replay: float | None = None,
        control: Control | None = None,
    ) -> None:
        # NO_COLOR's filter is chosen in App.__init__ by whether colours are the terminal's own.
        super().__init__(ansi_color=BUILTIN_THEMES[theme].ansi)
        self.theme = theme
        self.settings = settings
        self.session = Session(run, control or RealControl(), ASCII if settings.ascii else UNICODE, replay)
        self.zoomed: str | None = None
        palette = Palette(BUILTIN_THEMES[theme])
        self._palette = lambda: palette
        # Kept here and not looked up: a last tick can come while the app takes its widgets down.
        self._status = RowsWidget("status", self._palette)
        self._footer = RowsWidget("footer", self._palette)
        self.panes = {name: Pane(name, content, self._view, self._palette) for name, content in PANES.items()}
        self._arranged: object = None
        self._output_width: int | None = None
        self._script_size: object = None

    @property
    def view(self) -> View:
        """What is shown."""
        return self.session.view

    def _view(self) -> View:
        return self.session.view

    def compose(self) -> ComposeResult:
        yield self._status
        yield from self.panes.values()
        yield self._footer

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        # Textual leaves both to their defaults: SIGTERM would leave the terminal in its alternate screen, and with
        # SIGHUP ignored (nohup) a dead terminal makes it spin.
        for number in (signal.SIGHUP, signal.SIGTERM):
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self._told_to_leave)
        self._arrange()
        self._tick()
        self.set_interval(self.settings.interval_s, self._tick)
        self.set_interval(CATCH_UP_PERIOD_S, self._catch_up)

    def on_unmount(self) -> None:
        self.session.close()

    # Ticks.

    def _catch_up(self) -> None:
        """Between ticks, while there is history to read."""
        if self.session.behind:
            self.session.read()
            self.post_message(Ticked())

    def _tick(self) -> None:
        self.session.read()
        self.session.look_after_run()
        self.post_message(Ticked())

    def on_ticked(self) -> None:
        """The only place where panes are redrawn for new data."""
        self._arrange()
        self._tell_script_size()
        self._draw()

    # Drawing.

    def _draw(self, everything: bool = False) -> None:
        """Every pane that is shown; a frozen screen only on demand (`everything`)."""
        columns, rows = self.size
        if columns < MIN_COLUMNS or rows < MIN_ROWS:
            blank: Row = ((" " * columns, ""),)
            self._status.show([status.too_small(self.view, columns, rows), *[blank] * (rows - 1)])
            return
        self._status.show([status.row(self.view, columns)])
        self._footer.show([status.footer(self.view, columns, self.zoomed is not None)])
        if self.view.frozen_since is None or everything:
            for pane in self.panes.values():
                pane.redraw()

    def _draw_everything(self) -> None:
        self._draw(everything=True)

    def _arrange(self) -> None:
        """Places the panes for the terminal's size; does nothing while nothing about it changed."""
        columns, rows = self.size
        has_gpu = self.view.has_gpu or self.view.state.gpu_status is None
        compare = self.session.compare_open and self.view.before is not None
        wanted = (columns, rows, has_gpu, compare, self.zoomed)
        if wanted == self._arranged:
            return
        self._arranged = wanted
        places = arrange(columns, rows, has_gpu=has_gpu, compare=compare, zoom=self.zoomed)
        with self.batch_update():
            for widget in (self._status, self._footer, *self.panes.values()):
                place = places.get(widget.id or "")
                widget.display = place is not None
                if place is not None:
                    widget.styles.offset = (place.x, place.y)
                    widget.styles.width, widget.styles.height = place.width, place.height
                if isinstance(widget, Pane):
                    widget.zoomed = widget.pane_name == self.zoomed
        focused = self.focused
        if isinstance(focused, Pane) and not focused.display and len(self.screen_stack) == 1:
            self.panes[self.zoomed or "findings"].focus()
        if self.zoomed is None:
            self._output_width = places["output"].width if "output" in places else None

    def on_resize(self) -> None:
        self._arrange()
        self._draw_everything()

    def _tell_script_size(self) -> None:
        """The script's terminal is as wide as the pane that shows its output, so that progress bars fit."""
        if self.session.over or self.view.state.child_pid is None:
            return
        # One cell is the pane's left edge; where the output is not shown, zooming it gives it the whole width.
        columns = max(MIN_SCRIPT_COLUMNS, (self._output_width or self.size.width) - 1)
        wanted = (self.session.feed.run, columns, max(MIN_SCRIPT_ROWS, self.size.height))
        if wanted != self._script_size:
            self._script_size = wanted
            self.session.resize(*wanted[1:])

    # Keys that change what is seen.

    def action_help(self) -> None:
        """Opens the help."""
        self.push_screen(Help(self._view, self._palette))

    async def action_back(self) -> None:
        """Leaves zoom."""
        if self.zoomed is not None:
            self._zoom(None)

    def action_zoom(self) -> None:
        """The pane in focus over the whole screen, and back."""
        if self.zoomed is not None:
            self._zoom(None)
        elif isinstance(self.focused, Pane):
            self._zoom(self.focused.pane_name)

    def on_pane_selected(self, message: Pane.Selected) -> None:
        """A double click zooms."""
        self._zoom(None if self.zoomed else message.pane.pane_name)

    def _zoom(self, name: str | None) -> None:
        last, self.zoomed = self.zoomed, name
        self._arrange()
        target = name or last
        if target is not None and self.panes[target].display:
            self.panes[target].focus()
        self.call_after_refresh(self._draw_everything)

    def action_pane(self, name: str) -> None:
        """Focuses a pane that is shown; zooms one that is not, or that has the focus."""
        pane = self.panes[name]
        if self.zoomed == name:
            self._zoom(None)
        elif self.zoomed is None and pane.display and not pane.has_focus:
            pane.focus()
        else:
            self._zoom(name)

    def action_findings(self) -> None:
        """All findings, and back."""
        self._zoom(None if self.zoomed == "findings" else "findings")

    def action_freeze(self) -> None:
        """Holds the screen still, or lets it go on."""
        self.session.toggle_freeze()
        self._tick()

    def action_axis(self) -> None:
        """Two minutes or the whole run."""
        self.view.whole_run = not self.view.whole_run
        self.session.say("plots show the whole run" if self.view.whole_run else "plots show the last two minutes")
        self._draw_everything()

    def action_next_metric(self) -> None:
        """The next metric in the plot."""
        self.view.metric = metric.following(self.view) or self.view.metric
        self._draw_everything()

    def action_compare(self) -> None:
        """Opens or closes the comparison."""
        self.session.toggle_compare()
        self._arrange()
        self.call_after_refresh(self._draw_everything)

    # Keys that act on the run.

    def action_growth(self) -> None:
        """The next value of memory growth for the next run."""
        self.session.step_growth()
        self._draw()

    def action_apply(self) -> None:
        """Reruns with the setting of the chosen finding."""
        index = self.panes["findings"].cursor if self.zoomed == "findings" else 0
        shown = [finding for finding, _ in self.view.findings]
        if self.session.choose(shown[index] if index < len(shown) else None):
            self.action_rerun()
        self._draw()

    def action_rerun(self) -> None:
        """Stops this run after its batch and starts it again with the settings for the next run."""
        if self.session.refused():
            self._draw()
            return
        trained_s = self.session.trained_s()
        if trained_s > PRECIOUS_S:
            text = f"This run has trained for {trained_s / 60:.0f} minutes; what the script did not save is lost."
            self._ask("stop this run and start again?", text, RERUN)
        else:
            self._answer("rerun")

    async def action_quit(self) -> None:
        """Leaves an ended run at once; else asks."""
        if self.view.frozen_since is not None:
            self.action_freeze()
        if self.session.over:
            self._leave()
            return
        text = f"{status.script_name(self.view)} is running: {self.view.state.activity()}."
        self._ask("leave?", text, QUIT)

    def action_detach(self) -> None:
        """Leaves the screen; the training goes on."""
        self._leave()

    def _ask(self, title: str, text: str, choices: tuple[Choice, ...]) -> None:
        self.push_screen(Dialog(title, text, choices, self._view, self._palette), self._answer)

    def _answer(self, answer: str | None) -> None:
        if answer == "detach":
            self._leave()
            return
        if answer == "rerun":
            self.session.rerun()
        elif answer in ("batch", "kill") and self.session.stop(answer):
            self.session.say("asked the training to stop; q leaves once it has ended")
        self._tick()

    def _told_to_leave(self) -> None:
        """By a signal, perhaps because the terminal is gone: then Textual's writer thread has died, and when its queue
        is full, exit waits for it for ever (8.2.8, WriterThread.stop). SIGALRM's default action ends us all the same;
        `run_screen` takes it back."""
        signal.alarm(LEAVE_LIMIT_S)
        self._leave()

    def _leave(self) -> None:
        self.exit(exit_status(self.view.state))


def exit_status(state: RunState) -> int:
    """The script's own status once it has ended (128 + signal), else 0."""
    if state.ended is None:
        return 0
    if state.ended.signal is not None:
        return 128 + state.ended.signal
    return state.ended.exit_code or 0
