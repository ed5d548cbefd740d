"""The monitor as a Textual app: a timer reads the session, one message a tick redraws the panes, keys act."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from textual.app import App, ComposeResult
from textual.events import Event, Key
from textual.message import Message
from textual.screen import Screen
from textual.theme import BUILTIN_THEMES

from tfgpu_tui.core.state import RunState
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui import keys, search
from tfgpu_tui.ui.board import Board
from tfgpu_tui.ui.control import ERRORS, Control, RealControl
from tfgpu_tui.ui.dialogs import (
    COMMAND_CHARACTERS,
    FOREIGN,
    QUIT,
    QUIT_RERUN,
    RERUN,
    Choice,
    Dialog,
    Page,
    foreign_text,
    help_content,
)
from tfgpu_tui.ui.draw import ASCII, UNICODE, Box, Content
from tfgpu_tui.ui.feed import ReplayClock
from tfgpu_tui.ui.menus import Menus
from tfgpu_tui.ui.palette import Palette
from tfgpu_tui.ui.pane import Pane
from tfgpu_tui.ui.panes import metric, placement, status
from tfgpu_tui.ui.repaint import Painter, only_what_changed
from tfgpu_tui.ui.session import PRECIOUS_S, Session, trained_words
from tfgpu_tui.ui.snapshot import screen_svg, screen_text
from tfgpu_tui.ui.tour import Tour
from tfgpu_tui.ui.trying import Trying
from tfgpu_tui.ui.view import RANGE_WORDS, Search, View

if TYPE_CHECKING:
    from tfgpu_tui.ui.experiment import Experiment

LEAVE_LIMIT_S = 3
CATCH_UP_PERIOD_S = 0.1
SLOW_TICK_S = 1.0
"""Of ticks that come more often, every second one redraws the panes; the others only the status line."""
MIN_SCRIPT_COLUMNS, MIN_SCRIPT_ROWS = 40, 10


class Ticked(Message):
    """The session was read: everything that changed is in the view. `panes`: they are due, too."""

    def __init__(self, panes: bool = True) -> None:
        super().__init__()
        self.panes = panes


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
        replay: ReplayClock | None = None,
        control: Control | None = None,
        clock: Callable[[], float] = time.time,
        early: Sequence[int] = (),
        tour: Tour | None = None,
        nested: bool = False,
        experiment: Experiment | None = None,
    ) -> None:
        # NO_COLOR's filter is chosen in App.__init__ by whether colours are the terminal's own.
        super().__init__(ansi_color=BUILTIN_THEMES[theme].ansi)
        self.theme = theme
        self.settings = settings
        table = keys.remapped(settings.keys)
        self.set_keymap(keys.keymap(table))
        glyphs = ASCII if settings.ascii else UNICODE
        self.session = Session(run, control or RealControl(), glyphs, replay, table, clock)
        palette = Palette(BUILTIN_THEMES[theme])
        self.palette = lambda: palette
        self._painter = Painter(self)
        self.board = Board(self._view, self.palette, self._painter)
        self.menus = Menus(self)
        self.trying = Trying(self)
        if experiment is not None:
            self.AUTO_FOCUS = "#trials"  # type: ignore[misc]
            self.session.follow(experiment)
        self._script_size: object = None
        self._judged: object = None
        self._ticks = 0
        """Since the panes were drawn for new data, and what was found then."""
        self._tour = tour
        self._nested = nested
        self._early = early
        """Signals that come before this app takes them."""
        self.crash: Exception | None = None
        """What ended the screen, where that was a mistake of ours."""

    @property
    def view(self) -> View:
        """What is shown."""
        return self.session.view

    def _view(self) -> View:
        return self.session.view

    def compose(self) -> ComposeResult:
        yield from self.board.widgets

    def on_mount(self) -> None:
        loop = asyncio.get_running_loop()
        # Textual leaves them to their defaults: SIGTERM would leave the terminal in its alternate screen, and with
        # SIGHUP ignored (nohup) a dead terminal makes it spin. SIGINT is none that is typed here: that is a key.
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(ValueError, RuntimeError, NotImplementedError):
                loop.add_signal_handler(number, self._told_to_leave)
        if self._early:
            self._told_to_leave()
        self._arrange()
        self._catching_up = self.set_interval(CATCH_UP_PERIOD_S, self._catch_up, pause=True)
        self._tick()
        self.set_interval(self.settings.interval_s, self._idle_tick)

    def _fatal_error(self) -> None:
        """Textual's own (`App._fatal_error`, 8.2.8) prints the locals of every frame; `run_screen` raises `crash`."""
        error = sys.exc_info()[1]
        if self.is_headless or not isinstance(error, Exception):
            super()._fatal_error()
            return
        self.crash = self.crash or error
        self._close_messages_no_wait()

    def on_unmount(self) -> None:
        self.session.close()

    # Ticks.

    def _catch_up(self) -> None:
        """Between ticks, while there is history to read, and until a run that was just started has said its name."""
        if self.session.hurries:
            self._read()
            self.post_message(Ticked())

    def _read(self) -> None:
        """The session, which says whether there is more: a timer that has nothing to do costs its wake-ups."""
        self.session.read()
        if self.session.hurries:
            self._catching_up.resume()
        else:
            self._catching_up.pause()

    def _tick(self) -> None:
        self._read()
        self.session.look_after_run()
        self.post_message(Ticked())

    def _idle_tick(self) -> None:
        """The timer's: a run that is over, and of which nothing new came, costs no drawing, and one that goes on that
        of its panes at every second tick."""
        view, events = self.view, self.session.feed.events
        before = (id(view), view.notice, view.now, view.trials, view.state.ended)
        self._read()
        self.session.look_after_run()
        after = (id(self.view), self.view.notice, self.view.now, self.view.trials, self.view.state.ended)
        goes_on = self.view.state.ended is None
        if goes_on and before[-1] is None and self.view.replay is None:
            self.post_message(Ticked(self._panes_due()))
        elif goes_on or after != before or events != self.session.feed.events or self.session.trying:
            self.post_message(Ticked())

    def _panes_due(self) -> bool:
        """At every second tick, and together with the verdicts, which come as often."""
        self._ticks += 1
        if self._ticks < 2 and self.view.findings is self._judged and self.settings.interval_s < SLOW_TICK_S:
            return False
        self._ticks, self._judged = 0, self.view.findings
        return True

    def on_ticked(self, message: Ticked) -> None:
        """The only place where panes are redrawn for new data."""
        if self._tour is not None:
            self._tour.show(self.view)
        self._arrange()
        self._tell_script_size()
        self.draw(panes=message.panes)
        self.trying.look()
        if not gc.isenabled():
            # Modules, widgets and styles stay as long as the screen: they need not be looked through again and again.
            gc.freeze()
            gc.enable()

    # Drawing.

    def _display(self, screen: Screen[object], renderable: RenderableType | None) -> None:
        """Textual's last step before its driver writes (`App._display`, 8.2.8)."""
        super()._display(screen, only_what_changed(renderable))

    def draw(self, everything: bool = False, panes: bool = True) -> None:
        """Every pane that is shown; a frozen screen only on demand (`everything`). Without `panes` the status alone."""
        if self.view.search is not None:
            self.view.search = search.again(self.view)
        with self._painter.drawing():
            self.board.draw(self.size, everything, panes)

    def _arrange(self) -> None:
        compare = self.session.compare_open and self.view.before is not None
        with self.batch_update():
            if not self.board.arrange(self.size, compare):
                return
        if len(self.screen_stack) == 1 and not (isinstance(self.focused, Pane) and self.focused.display):
            first = "findings" if self.view.trials is None else "trials"
            self.board.panes[self.board.zoomed or first].focus()

    def _arrange_and_draw(self) -> None:
        self._arrange()
        self.call_after_refresh(self.draw, True)

    def on_resize(self) -> None:
        # Later, since Textual takes the new size over only after this handler.
        self.call_later(self._arrange_and_draw)

    def _tell_script_size(self) -> None:
        """The script's terminal is as wide as the pane that shows its output, so that progress bars fit."""
        if self.session.over or self.view.state.child_pid is None:
            return
        # One cell is the pane's left edge; where the output is not shown, zooming it gives it the whole width.
        columns = max(MIN_SCRIPT_COLUMNS, (self.board.output_width or self.size.width) - 1)
        wanted = (self.session.feed.run, columns, max(MIN_SCRIPT_ROWS, self.size.height))
        if wanted != self._script_size:
            self._script_size = wanted
            self.session.resize(*wanted[1:])

    # Keys that change what is seen.

    async def on_event(self, event: Event) -> None:
        """All that comes to Textual's App; the keys of a new user's tour go no further."""
        on_board = len(self.screen_stack) == 1
        if self._tour is not None and on_board and isinstance(event, Key) and self._tour.takes(event.key, self.view):
            self.draw(everything=True)
        else:
            await super().on_event(event)

    def action_help(self) -> None:
        """Opens the help."""
        self._read_page("help", help_content, "help")

    def action_commands(self) -> None:
        """Everything that the keys do."""
        self.menus.commands()

    async def action_back(self) -> None:
        """Leaves a search, then zoom, then a screen that was opened from another one."""
        if self.view.search is not None:
            self.view.search = None
            self.draw(everything=True)
        elif self.board.zoomed is not None:
            self._zoom(None)
        elif self._nested:
            self.leave()

    def action_zoom(self) -> None:
        """The pane in focus over the whole screen, and back."""
        if self.board.zoomed is not None:
            self._zoom(None)
        elif isinstance(self.focused, Pane):
            self._zoom(self.focused.pane_name)

    def on_pane_selected(self, message: Pane.Selected) -> None:
        """A double click zooms."""
        self._zoom(None if self.board.zoomed else message.pane.pane_name)

    def _zoom(self, name: str | None) -> None:
        last, self.board.zoomed = self.board.zoomed, name
        self._arrange()
        target = name or last
        if target is not None and self.board.panes[target].display:
            self.board.panes[target].focus()
        self.call_after_refresh(self.draw, True)

    def action_pane(self, name: str) -> None:
        """Focuses a pane that is shown; zooms one that is not, or that has the focus."""
        pane = self.board.panes[name]
        if self.board.zoomed == name:
            self._zoom(None)
        elif self.board.zoomed is None and pane.display and not pane.has_focus:
            pane.focus()
        else:
            self._zoom(name)

    def action_findings(self) -> None:
        """All findings, and back."""
        self._zoom(None if self.board.zoomed == "findings" else "findings")

    def action_freeze(self) -> None:
        """Holds the screen still, or lets it go on."""
        self.session.toggle_freeze()
        self._tick()

    def action_axis(self) -> None:
        """The next range of time."""
        self._say_range(self.session.change_range(1, around=True))

    def action_longer(self) -> None:
        """More time in the plots."""
        self._say_range(self.session.change_range(1))

    def action_shorter(self) -> None:
        """Less time in the plots."""
        self._say_range(self.session.change_range(-1))

    def _say_range(self, range_s: float | None) -> None:
        self.session.say(f"plots show {RANGE_WORDS[range_s]}")
        self.draw(everything=True)

    def action_next_metric(self) -> None:
        """The next metric in the plot."""
        self.view.metric = metric.following(self.view) or self.view.metric
        self.draw(everything=True)

    def action_compare(self) -> None:
        """Opens or closes the comparison."""
        self.session.toggle_compare()
        self._arrange_and_draw()

    def action_seek(self, steps: int) -> None:
        """A replay goes on or back."""
        self.session.seek(steps)
        self._tick()

    def action_speed(self, factor: float) -> None:
        """A replay goes faster or slower."""
        self.session.change_speed(factor)
        self._tick()

    # The placement's tree, and the search.

    def action_off_gpu(self) -> None:
        """Only layers that are not on the GPU, or all."""
        self.view.only_off_gpu = not self.view.only_off_gpu
        pane = self.board.panes["placement"]
        pane.scroll = pane.cursor = 0
        self.uncover("placement")
        self.draw(everything=True)

    def on_pane_sideways(self, message: Pane.Sideways) -> None:
        """Left folds the chosen layer, right unfolds it."""
        if message.pane.pane_name == "placement":
            self.view.folded = placement.fold(self.view, message.pane.cursor, fold=message.step < 0)
            self.draw(everything=True)

    def action_search(self) -> None:
        """Searches in the output or the placement."""
        self.menus.search()

    def show_search(self, found: Search | None) -> None:
        """What was found, and the place where it was."""
        self.view.search = found
        if found is not None and found.hits:
            self.board.panes[found.pane].reveal(found.hits[found.at])
        self.draw(everything=True)

    def action_next_hit(self) -> None:
        """The next place."""
        self.show_search(search.step(self.view.search, 1))

    def action_last_hit(self) -> None:
        """The place before."""
        self.show_search(search.step(self.view.search, -1))

    # Keys that act on the run.

    def action_growth(self) -> None:
        """The next value of memory growth for the next run."""
        self.session.step_knob("memory_growth")
        self.draw()

    def action_settings(self) -> None:
        """Every setting that a rerun can change."""
        self.menus.settings()

    def _finding(self) -> int:
        """Which finding a key means: the chosen one of the list, else the first."""
        return self.board.panes["findings"].cursor if self.board.zoomed == "findings" else 0

    def action_apply(self) -> None:
        """Reruns with the setting of the chosen finding; in the placement, folds the chosen layer."""
        focused = self.focused
        if isinstance(focused, Pane) and focused.pane_name == "placement":
            self.view.folded = placement.fold(self.view, focused.cursor)
            self.draw(everything=True)
            return
        shown = [finding for finding, _ in self.view.findings]
        index = self._finding()
        if self.session.choose(shown[index] if index < len(shown) else None):
            self.action_rerun()
        self.draw()

    def action_copy(self) -> None:
        """The next step of the chosen finding, to the reader's own clipboard."""
        index = self._finding()
        if index >= len(self.view.findings):
            self.session.say("no finding whose next step could be copied")
        else:
            self.copy_to_clipboard(self.view.findings[index][0].next)
            inside = "; tmux must have `set-clipboard on`" if os.environ.get("TMUX") else ", if the terminal allows it"
            self.session.say(f"next step copied{inside}")
        self.draw()

    def action_explain(self) -> None:
        """All that there is to say of the chosen finding."""
        index = self._finding()
        if index >= len(self.view.findings):
            self.session.say("no finding to explain")
            self.draw()
        else:
            from tfgpu_tui.ui import explaining  # late: the register of all findings is no part of the first paint

            self._read_page("explanation", explaining.of(self.view.findings[index][0]), "explain")

    def _read_page(self, name: str, content: Callable[[View, Box], Content], opened_by: str) -> None:
        key = keys.by_name(self.view.keys, opened_by).key
        self.push_screen(Page(name, content, key, self._view, self.palette))

    def action_export(self) -> None:
        """Writes report, picture and series to a new folder."""
        from tfgpu_tui.ui import exporting  # late: the reports are no part of the first paint

        try:
            folder = exporting.write(Path.cwd(), self.view.state, screen_svg(self), screen_text(self))
        except OSError as error:
            self.session.say(f"nothing was written: {error.strerror}: {error.filename}")
        else:
            self.session.say(f"written: {folder.name}/")
        self.draw()

    def action_profile(self) -> None:
        """Time by layer over a few steps."""
        self.session.profile()
        self.draw()

    def action_type(self) -> None:
        """Types lines to the script."""
        self.menus.type_lines()

    def action_try_settings(self) -> None:
        """An experiment: the script with one setting after the other."""
        self.trying.ask()

    def action_rerun(self) -> None:
        """Stops this run after its batch and starts it again with the settings for the next run."""
        if self.session.refused():
            self.draw()
            return
        try:
            command = self.session.foreign_command()
        except ERRORS as error:
            self.session.say(str(error))
            self.draw()
            return
        trained_s = self.session.trained_s()
        if command is not None:
            self._ask_about(command, self.view.next_knobs)
        elif trained_s > PRECIOUS_S:
            self._ask("stop this run and start again?", f"This run {trained_words(trained_s)}.", RERUN)
        else:
            self._answer("rerun")

    async def action_quit(self) -> None:
        """Leaves an ended run at once; else asks."""
        if self.view.frozen_since is not None:
            self.action_freeze()
        if self.session.trying:
            self.trying.leave()
            return
        if self.session.over:
            self.leave()
            return
        text = f"{status.script_name(self.view)} is running: {self.view.state.activity()}."
        self._ask("leave?", text, QUIT_RERUN if self.session.rerun_pending else QUIT)

    def action_detach(self) -> None:
        """Leaves the screen; the training goes on."""
        self.leave()

    def action_browse(self) -> None:
        """All runs."""
        self.menus.runs()

    def look_again(self) -> None:
        """After another run came to the screen."""
        self._tick()
        self._arrange_and_draw()

    def uncover(self, name: str) -> None:
        """Makes sure that a pane is seen."""
        if not self.board.panes[name].display:
            self._zoom(name)

    def _ask_about(self, command: str, asked: dict[str, str]) -> None:
        """Somebody else's command is run only as it was shown, and shown whole."""
        if len(command) > COMMAND_CHARACTERS:
            where = self.session.feed.run.path
            self.session.say(
                f"its command is too long to be shown whole, and is not run from here: it stands in {where}"
            )
            self.draw()
            return
        text = foreign_text(command, asked, stops=not self.session.over)
        dialog = Dialog("run this command?", text, FOREIGN, self._view, self.palette)
        self.push_screen(dialog, lambda answer: self._answer(answer, confirmed=command))

    def _ask(self, title: str, text: str, options: tuple[Choice, ...]) -> None:
        self.push_screen(Dialog(title, text, options, self._view, self.palette), self._answer)

    def _answer(self, answer: str | None, confirmed: str | None = None) -> None:
        if answer == "detach" or (answer in ("batch", "kill") and self.session.over):  # it ended meanwhile
            self.leave()
            return
        if answer == "rerun":
            self.session.rerun(confirmed)
        elif answer in ("batch", "kill"):
            self.session.stop(answer)
        self._tick()

    def _told_to_leave(self) -> None:
        """By a signal, perhaps because the terminal is gone: then Textual's writer thread has died, and when its queue
        is full, exit waits for it for ever (8.2.8, WriterThread.stop). SIGALRM's default action ends us all the same;
        `run_screen` takes it back."""
        signal.alarm(LEAVE_LIMIT_S)
        self.leave()

    @property
    def busy(self) -> bool:
        """A dialog is open."""
        return len(self.screen_stack) > 1

    def leave(self) -> None:
        """Ends the screen."""
        self.exit(exit_status(self.view.state))


def exit_status(state: RunState) -> int:
    """The script's own status once it has ended (128 + signal), else 0."""
    if state.ended is None:
        return 0
    if state.ended.signal is not None:
        return 128 + state.ended.signal
    return state.ended.exit_code or 0
