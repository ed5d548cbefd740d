"""What the keys open over the screen: commands, settings, runs, the search, and a line to type into."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from textual.screen import Screen, ScreenResultCallbackType
from textual.widget import Widget

from tfgpu_tui.core import knobs
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui import choices, search
from tfgpu_tui.ui.control import ERRORS
from tfgpu_tui.ui.dialogs import DELETE, Dialog
from tfgpu_tui.ui.feed import ReplayClock
from tfgpu_tui.ui.keys import by_name
from tfgpu_tui.ui.palette import Palette
from tfgpu_tui.ui.pane import Pane
from tfgpu_tui.ui.picker import Chosen, Picker, Prompt
from tfgpu_tui.ui.session import Session
from tfgpu_tui.ui.view import Search, View

Answer = TypeVar("Answer")


class Host(Protocol):
    """What the menus need of the app that they open over (`monitor.MonitorApp`)."""

    session: Session
    palette: Callable[[], Palette]

    @property
    def view(self) -> View: ...
    @property
    def focused(self) -> Widget | None: ...
    async def run_action(self, action: str) -> bool: ...
    def push_screen(
        self, screen: Screen[Answer], callback: ScreenResultCallbackType[Answer] | None = None
    ) -> object: ...
    def action_rerun(self) -> None: ...
    def draw(self, everything: bool = False) -> None: ...
    def look_again(self) -> None: ...
    def uncover(self, name: str) -> None: ...
    def show_search(self, search: Search | None) -> None: ...
    def leave(self) -> None: ...
    @property
    def busy(self) -> bool: ...


class Menus:
    """Opens them over `app` and does what was chosen in them."""

    def __init__(self, app: Host) -> None:
        self._app = app

    # Commands.

    def commands(self) -> None:
        """Everything that the keys do, to choose by words."""
        view = self._app.view
        items = choices.commands(view.keys, view.replay is not None)
        answers = {"enter": ("do", "does it")}
        self._open(Picker("what to do", lambda: items, answers, self._view, self._app.palette, typed=True), self._do)

    async def _do(self, chosen: Chosen) -> None:
        await self._app.run_action(by_name(self._app.view.keys, chosen.item).action)

    # Settings.

    def settings(self, at: str | None = None) -> None:
        """Every setting that a rerun can change; the cursor begins `at` one of them."""
        answers = {"enter": ("step", "next value"), "e": ("type", "type one"), "r": ("rerun", "reruns")}
        picker = Picker("settings", lambda: choices.settings(self._app.view), answers, self._view, self._app.palette,
                        head=choices.SETTING_HEAD, stay=self._step, at=at)  # fmt: skip
        self._open(picker, self._set)

    def _step(self, chosen: Chosen) -> bool:
        """The next value, where there are values to step through."""
        if chosen.answer != "step" or len(knobs.ALL[chosen.item].values) < 2:
            return False
        self._app.session.step_knob(chosen.item)
        return True

    async def _set(self, chosen: Chosen) -> None:
        if chosen.answer == "rerun":
            self._app.action_rerun()
            return
        now = self._app.view.next_knobs.get(chosen.item, "")
        self._app.push_screen(
            Prompt(
                f"{chosen.item} =",
                knobs.ALL[chosen.item].accepts,
                self._view,
                self._app.palette,
                text=now,
                check=lambda text: self._app.session.wrong_value(chosen.item, text),
            ),
            lambda text: self._typed(chosen.item, text),
        )

    def _typed(self, name: str, text: str | None) -> None:
        if text is not None:
            self._app.session.set_knob(name, text)
        self.settings(at=name)
        self._app.draw()

    # Runs.

    def runs(self) -> None:
        """All runs: open, replay, compare, delete."""
        session = self._app.session
        if session.experiment is not None:
            session.say("this screen is the experiment's: tfgpu-tui runs lists all runs")
            self._app.draw()
            return
        try:
            found = session.control.runs()
        except ERRORS as error:
            session.say(str(error))
            self._app.draw()
            return
        before = session.view.before.run.id if session.view.before and session.view.before.run else None
        items = choices.runs(found, session.feed.run.id, before)
        answers = {"enter": ("open", "opens"), "p": ("replay", "replays"), "c": ("compare", "compares"),
                   "x": ("delete", "deletes")}  # fmt: skip
        picker = Picker("runs", lambda: items, answers, self._view, self._app.palette, head=choices.RUN_HEAD)
        self._open(picker, self._chose_run)

    async def _chose_run(self, chosen: Chosen) -> None:
        session = self._app.session
        try:
            run = session.control.find(chosen.item)
        except ERRORS as error:
            session.say(str(error))
            return
        here = run.id == session.feed.run.id
        if chosen.answer == "delete" and here:
            session.say("this run is on the screen: open another one, then delete it")
        elif chosen.answer == "delete":
            text = "Its journal, output and report are deleted for good."
            dialog = Dialog(f"delete {printable(run.id)}?", text, DELETE, lambda: self._app.view, self._app.palette)
            self._app.push_screen(dialog, lambda answer: self._delete(run, answer))
        elif chosen.answer == "compare" and here:
            session.say("a run is not compared with itself")
        elif chosen.answer == "compare":
            session.compare_with(run)
        else:
            session.show(run, ReplayClock() if chosen.answer == "replay" else None)
        self._app.look_again()

    def _delete(self, run: RunDir, answer: str | None) -> None:
        session = self._app.session
        if answer == "delete":
            try:
                session.control.delete(run)
            except ERRORS as error:
                session.say(str(error))
            else:
                session.say(f"deleted {run.id}")
        self.runs()
        self._app.draw()

    # The search, and typing to the script.

    def search(self) -> None:
        """Searches in the placement where that is in focus, else in the output."""
        app = self._app
        focused = app.focused
        name = focused.pane_name if isinstance(focused, Pane) and focused.pane_name in search.PANES else "output"
        app.uncover(name)
        text = app.view.search.text if app.view.search else ""
        prompt = Prompt(f"search {name}:", "Enter keeps it, Esc ends it", self._view, app.palette, text=text,
                        typing=lambda words: self._searched(name, words))  # fmt: skip
        app.push_screen(prompt, lambda found: self._searched(name, found or ""))

    def _searched(self, pane: str, text: str) -> None:
        self._app.show_search(search.start(self._app.view, pane, text) if text else None)

    def type_lines(self) -> None:
        """Types lines to the script."""
        self._app.uncover("output")
        prompt = Prompt("to the script:", "Enter sends the line, Esc ends", self._view, self._app.palette,
                        again=self._send, unseen=self._app.session.types_unseen)  # fmt: skip
        self._app.push_screen(prompt)

    def _send(self, text: str) -> bool:
        sent = self._app.session.send_line(text)
        self._app.draw()
        return sent

    # Both.

    def _view(self) -> View:
        return self._app.view

    def _open(self, picker: Picker, then: Callable[[Chosen], Awaitable[None]]) -> None:
        """Opens a list; `then` hears what was chosen."""

        async def chosen(answer: Chosen | None) -> None:
            if answer is not None:
                await then(answer)
            self._app.draw(everything=True)

        self._app.push_screen(picker, chosen)
