"""The monitor's screen as a Textual app: a timer reads the feed, one message a tick redraws the panes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

from textual.app import App, ComposeResult
from textual.message import Message
from textual.theme import BUILTIN_THEMES

from tfgpu_tui import compare, knobs
from tfgpu_tui.config import Settings
from tfgpu_tui.diagnose import FindingLog, diagnose
from tfgpu_tui.rundir import RunDir
from tfgpu_tui.state import RunState
from tfgpu_tui.ui import keys
from tfgpu_tui.ui.control import ERRORS, Control, RealControl
from tfgpu_tui.ui.dialogs import QUIT, RERUN, Choice, Dialog, Help
from tfgpu_tui.ui.draw import ASCII, UNICODE, Row
from tfgpu_tui.ui.feed import Feed
from tfgpu_tui.ui.layout import MIN_COLUMNS, MIN_ROWS, arrange
from tfgpu_tui.ui.palette import Palette
from tfgpu_tui.ui.pane import Pane, RowsWidget
from tfgpu_tui.ui.panes import PANES, metric, status
from tfgpu_tui.ui.view import View

LEAVE_LIMIT_S = 3
CATCH_UP_PERIOD_S = 0.1
CATCH_UP_BUDGET_S = 0.07
"""While there is history to read: most of the time goes into reading, and the keys still answer."""
DIAGNOSE_PERIOD_S = 1.0
ALIVE_PERIOD_S = 3.0
NOTICE_S = 6.0
PRECIOUS_S = 120.0
"""A run that trained for longer is not stopped for a rerun without being asked about."""


class Ticked(Message):
    """The feed was read: everything that changed is in the view."""


class MonitorApp(App[int]):
    """The screen of one run, and of its reruns."""

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
        mode: str = "live",
        speed: float = 1.0,
        control: Control | None = None,
        theme: str | None = None,
    ) -> None:
        chosen = theme or choose_theme(settings.theme)
        # NO_COLOR's filter is chosen in App.__init__ by whether colours are the terminal's own.
        super().__init__(ansi_color=BUILTIN_THEMES[chosen].ansi)
        self.theme = chosen
        self.settings = settings
        self.control: Control = control if control is not None else RealControl()
        self.feed = self._feed(run, speed if mode == "replay" else None)
        self.before_feed: Feed | None = None
        self.view = View(
            state=self.feed.state,
            lines=self.feed.lines,
            glyphs=ASCII if settings.ascii else UNICODE,
            replay=speed if mode == "replay" else None,
        )
        self._palette = Palette(BUILTIN_THEMES[chosen])
        # Kept here and not looked up: a last tick can come while the app takes its widgets down.
        self._status = RowsWidget("status", lambda: self._palette)
        self._footer = RowsWidget("footer", lambda: self._palette)
        self.panes = {n: Pane(n, content, lambda: self.view, lambda: self._palette) for n, content in PANES.items()}
        self.zoomed: str | None = None
        self.compare_open = False
        self._compared = False
        self._diagnosed_at = -1.0
        self._rerun_knobs: dict[str, str] | None = None
        self._notice_until = 0.0
        self._alive_at = 0.0
        self._script_size: tuple[int, int] | None = None
        self._output_width: int | None = None
        self._knobs_known = False
        self._arranged: object = None

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
        self.feed.close()
        if self.before_feed is not None:
            self.before_feed.close()

    # The feed.

    def _feed(self, run: RunDir, speed: float | None = None) -> Feed:
        log = FindingLog()
        self._finding_log = log
        return Feed(run, speed, look=lambda state: self._judge(log, state))

    def _judge(self, log: FindingLog, state: RunState) -> None:
        found = log.update(diagnose(state), state.now)
        if log is self._finding_log:
            self.view.findings = found

    def _catch_up(self) -> None:
        """Between ticks, while there is history to read."""
        if self.feed.behind and not self.feed.paused:
            self._read()
            self.post_message(Ticked())
        elif self.before_feed is not None and self.before_feed.behind:
            self.before_feed.advance(CATCH_UP_BUDGET_S)

    def _tick(self) -> None:
        self._read()
        self._look_after_run()
        self._compare_when_due()
        self._tell_script_size()
        self.post_message(Ticked())

    def _read(self) -> None:
        try:
            changed = self.feed.advance(CATCH_UP_BUDGET_S)
        except OSError as error:
            self._say(f"the journal can't be read: {error.strerror}")
            return
        view, feed = self.view, self.feed
        view.behind = feed.events if feed.behind else None
        if not feed.paused:
            view.now = feed.now(time.time())
        if changed and not feed.behind:
            self._learn()

    def _learn(self) -> None:
        """What follows from the state: findings, the run before, whether the comparison is due."""
        state = self.view.state
        if state.run is not None and not self._knobs_known:
            self._knobs_known = True
            self.view.next_knobs = dict(state.run.knobs)
            self._find_parent(state)
        now = time.monotonic()
        if now - self._diagnosed_at >= DIAGNOSE_PERIOD_S or state.ended is not None:
            self._diagnosed_at = now
            self._judge(self._finding_log, state)

    def _compare_when_due(self) -> None:
        """Opens the comparison, once, when both runs have enough steps to say something beyond the noise."""
        before = self.view.before
        if before is not None and not self._compared and compare.ready(before, self.view.state):
            self._compared = self.compare_open = True
            self._say("c closes the comparison")

    def _find_parent(self, state: RunState) -> None:
        """The run that this one was started from, when the screen did not see it itself."""
        if state.run is None or state.run.parent is None or self.view.before is not None:
            return
        try:
            parent = self.control.find(state.run.parent)
        except ERRORS:
            return  # its folder was deleted: there is nothing to compare with
        self.before_feed = Feed(parent)
        self.view.before = self.before_feed.state

    def _look_after_run(self) -> None:
        now = time.monotonic()
        if self.view.notice is not None and now >= self._notice_until and self._rerun_knobs is None:
            self.view.notice = None
        if self.view.replay is not None or self.feed.behind:
            return
        ended = self.view.state.ended is not None
        if not ended and now - self._alive_at >= ALIVE_PERIOD_S:
            self._alive_at = now
            try:
                self.view.lost = not self.control.is_running(self.feed.run)
            except ERRORS:
                self.view.lost = True
        if self._rerun_knobs is not None:
            if ended or self.view.lost:
                self._start_again(self._rerun_knobs)
            elif self.view.state.stopping is not None:
                self.view.notice = f"rerun: {self.view.state.activity()}"

    # Drawing.

    def on_ticked(self) -> None:
        """The only place where panes are redrawn for new data."""
        self._arrange()
        self._draw()

    def _draw(self) -> None:
        columns, rows = self.size
        if columns < MIN_COLUMNS or rows < MIN_ROWS:
            blank: Row = ((" " * columns, ""),)
            self._status.show([status.too_small(self.view, columns, rows), *[blank] * (rows - 1)])
            return
        self._status.show([status.row(self.view, columns)])
        self._footer.show([status.footer(self.view, columns, self.zoomed is not None)])
        if self.view.frozen_since is None:
            for pane in self.panes.values():
                pane.redraw()

    def _arrange(self) -> None:
        """Places the panes for the terminal's size; does nothing while nothing about it changed."""
        columns, rows = self.size
        has_gpu = self.view.has_gpu or self.view.state.gpu_status is None
        wanted = (columns, rows, has_gpu, self.compare_open and self.view.before is not None, self.zoomed)
        if wanted == self._arranged:
            return
        self._arranged = wanted
        places = arrange(columns, rows, has_gpu=has_gpu, compare=wanted[3], zoom=self.zoomed)
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
        self._output_width = places["output"].width if "output" in places else None
        self._tell_script_size()

    def on_resize(self) -> None:
        self._arrange()
        self._draw()

    def _tell_script_size(self) -> None:
        """The script's terminal is as wide as the pane that shows its output, so that progress bars fit."""
        if self.view.replay is not None or self.view.state.ended is not None or self.zoomed is not None:
            return
        # One cell is the pane's left edge; where the output is not shown, zooming it gives it the whole width.
        columns = (self._output_width or self.size.width) - 1
        wanted = (max(40, columns), max(10, self.size.height))
        if wanted == self._script_size or self.view.state.child_pid is None:
            return
        self._script_size = wanted
        # A run that ended meanwhile has no terminal any more: nothing to say.
        with contextlib.suppress(*ERRORS):
            self.control.resize(self.feed.run, *wanted)

    def _say(self, words: str) -> None:
        self.view.notice = words
        self._notice_until = time.monotonic() + NOTICE_S

    # Keys.

    def action_help(self) -> None:
        """Opens the help."""
        self.push_screen(Help(lambda: self.view, lambda: self._palette))

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
        self.call_after_refresh(self._redraw_all)

    def _redraw_all(self) -> None:
        """After a change of the arrangement, a frozen screen included."""
        self._draw()
        for pane in self.panes.values():
            pane.redraw()

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
        if self.view.frozen_since is None:
            self.view.frozen_since = self.view.now
            self.feed.paused = True
        else:
            self.view.frozen_since = None
            self.feed.resume()
            self._tick()
        self._draw()

    def action_axis(self) -> None:
        """Two minutes or the whole run."""
        self.view.whole_run = not self.view.whole_run
        self._say("plots show the whole run" if self.view.whole_run else "plots show the last two minutes")
        self._redraw_all()

    def action_next_metric(self) -> None:
        """The next metric in the plot."""
        self.view.metric = metric.following(self.view) or self.view.metric
        self._redraw_all()

    def action_compare(self) -> None:
        """Opens or closes the comparison."""
        if self.view.before is None:
            self._say("nothing to compare yet: r reruns this script")
        else:
            self.compare_open = not self.compare_open
            self._compared = True
        self._arrange()
        self.call_after_refresh(self._redraw_all)

    def action_growth(self) -> None:
        """The next value of memory growth for the next run."""
        if self._refused():
            return
        value = knobs.following("memory_growth", self.view.next_knobs.get("memory_growth"))
        self.view.next_knobs = {k: v for k, v in self.view.next_knobs.items() if k != "memory_growth"}
        if value != knobs.SCRIPT:
            self.view.next_knobs["memory_growth"] = value
        self._draw()

    def action_apply(self) -> None:
        """Reruns with the setting of the chosen finding."""
        index = self.panes["findings"].cursor if self.zoomed == "findings" else 0
        found = [finding for finding, _ in self.view.findings][index : index + 1]
        if not found or found[0].knob is None:
            self._say("this finding needs a change in the script" if found else "no finding to try")
            self._draw()
            return
        if self._refused():
            return
        self.view.next_knobs = {**self.view.next_knobs, **knobs.parse([found[0].knob])}
        self.action_rerun()

    def action_rerun(self) -> None:
        """Stops this run after its batch and starts it again with the settings for the next run."""
        if self._refused():
            return
        state = self.view.state
        trained = (state.last_step_t or 0.0) - (state.first_step_t or 0.0)
        if state.ended is None and not self.view.lost and trained > PRECIOUS_S:
            asked = f"This run has trained for {trained / 60:.0f} minutes; what the script did not save is lost."
            self.push_screen(self._dialog("stop this run and start again?", asked, RERUN), self._rerun_answer)
        else:
            self._begin_rerun()

    def _dialog(self, title: str, text: str, choices: tuple[Choice, ...]) -> Dialog:
        return Dialog(title, text, choices, lambda: self.view, lambda: self._palette)

    def _rerun_answer(self, answer: str | None) -> None:
        if answer == "yes":
            self._begin_rerun()

    def _begin_rerun(self) -> None:
        if self.view.frozen_since is not None:
            self.action_freeze()
        asked = dict(self.view.next_knobs)
        if self.view.state.ended is not None or self.view.lost:
            self._start_again(asked)
            return
        try:
            self.control.stop(self.feed.run, "batch")
        except ERRORS as error:
            self._say(str(error))
            return
        self._rerun_knobs = asked
        self.view.notice = "rerun: waiting for this batch to end"
        self._draw()

    def _start_again(self, asked: dict[str, str]) -> None:
        self._rerun_knobs = None
        try:
            run = self.control.start_again(self.feed.run, asked)
        except ERRORS as error:
            self._say(f"the rerun did not start: {error}")
            return
        self.feed.close()
        if self.before_feed is not None:
            self.before_feed.close()
            self.before_feed = None
        old, self.feed = self.view.state, self._feed(run)
        self.view = View(
            state=self.feed.state,
            lines=self.feed.lines,
            glyphs=self.view.glyphs,
            before=old,
            next_knobs=asked,
            whole_run=self.view.whole_run,
            metric=self.view.metric,
            now=time.time(),
        )
        self._compared = self.compare_open = False
        self._script_size = None
        self._alive_at = time.monotonic()
        self._say("rerun started; the comparison opens by itself")
        self._tick()

    def _refused(self) -> bool:
        """True, and said, where nothing can be started or stopped."""
        if self.view.replay is not None:
            self._say("this is a replay: the run is over")
        elif self._rerun_knobs is not None:
            self._say("a rerun is already on its way")
        else:
            return False
        self._draw()
        return True

    def action_detach(self) -> None:
        """Leaves the screen; the training goes on."""
        self._leave()

    async def action_quit(self) -> None:
        """Leaves an ended run at once; else asks."""
        if self.view.frozen_since is not None:
            self.action_freeze()
        if self.view.replay is not None or self.view.state.ended is not None or self.view.lost:
            self._leave()
            return
        text = f"{status.script_name(self.view)} is running: {self.view.state.activity()}."
        self.push_screen(self._dialog("leave?", text, QUIT), self._quit_answer)

    def _quit_answer(self, answer: str | None) -> None:
        if answer == "detach":
            self._leave()
        elif answer in ("batch", "kill"):
            try:
                self.control.stop(self.feed.run, answer)
                self._say("asked the training to stop; q leaves once it has ended")
            except ERRORS as error:
                self._say(str(error))
            self._draw()

    def _told_to_leave(self) -> None:
        """By a signal, perhaps because the terminal is gone: then Textual's writer thread has died, and when its queue
        is full, exit waits for it for ever (8.2.8, WriterThread.stop). SIGALRM's default action ends us all the same."""
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


def choose_theme(asked: str | None) -> str:
    """`ansi` where asked for or over SSH (the terminal's own 16 colours cost a third fewer bytes), else dark."""
    names = {"ansi": "ansi-dark", "dark": "textual-dark", "light": "textual-light"}
    name = names.get(asked or "", asked or "")
    if name in BUILTIN_THEMES:
        return name
    remote = os.environ.get("SSH_CONNECTION") or "NO_COLOR" in os.environ
    return "ansi-dark" if remote else "textual-dark"


def run_screen(run: RunDir, settings: Settings, mode: str = "live", speed: float = 1.0) -> int:
    """Shows a run until its reader leaves. `mode` is `live` or `replay` (at `speed` times the recorded pace).

    Returns the script's exit status when it has ended, else 0 (detached: the training goes on).
    """
    app = MonitorApp(run, settings, mode=mode, speed=speed)
    status_code = app.run()
    signal.alarm(0)
    return app.return_code or 0 if status_code is None else status_code
