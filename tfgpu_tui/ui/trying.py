"""What the keys and the conductor of an experiment ask over the screen (see `tfgpu-tui try`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfgpu_tui.core import units
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui.control import ERRORS
from tfgpu_tui.ui.dialogs import Choice, Dialog
from tfgpu_tui.ui.menus import Host
from tfgpu_tui.ui.session import trained_words

if TYPE_CHECKING:
    from tfgpu_tui.trials.records import Group

BUDGET_S = 300.0
SHOWN = 6
"""Files that are listed in a question."""
TRY = (
    Choice("enter", "try", "begin", "Enter"),
    Choice("escape", "cancel", "leave it", "Esc"),
)
LEAVE = (
    Choice("d", "detach", "detach: leave the screen, the experiment goes on"),
    Choice("s", "stop", "stop the experiment: what is known is kept, and told"),
    Choice("escape", "cancel", "stay here", "Esc"),
)
WRITE = (
    Choice("y", "write", "go on: the trials may write them again"),
    Choice("n", "leave", "try nothing: leave"),
    Choice("escape", "cancel", "decide later, look at the screen", "Esc"),
)


class Trying:
    """Opens the questions over `app`, and does what was answered."""

    def __init__(self, app: Host) -> None:
        self._app = app
        self._asked: str | None = None
        """The run after which it was asked about files."""
        self._leaves = False

    def ask(self) -> None:
        """Whether to begin an experiment with the script of the run on the screen."""
        session, trials = self._app.session, self._app.view.trials
        if trials is not None and trials.asks:
            self._ask_about_files(trials.group)
            return
        if session.refused() or self._foreign():
            self._app.draw()
            return
        stops = ""
        if not session.over:
            trained_s = session.trained_s()
            trained = f" (it {trained_words(trained_s)})" if trained_s > 60 else ""
            stops = f"This run stops after its batch{trained}: trials are measured one at a time. "
        text = (
            f"{stops}The script runs as it is, then with one setting after the other, for at most "
            f"{units.clock(BUDGET_S)}; each trial is a whole start of it. You are asked before a second trial writes "
            "files of the script's folder again."
        )
        self._open("try what could help?", text, TRY, self._begin)

    def _foreign(self) -> bool:
        """True, and said, where the run may be somebody else's."""
        session = self._app.session
        try:
            foreign = session.foreign_command() is not None
        except ERRORS as error:
            session.say(str(error))
            return True
        if foreign:
            session.say("this run does not come from your own list of runs: start `tfgpu-tui try` with its script")
        return foreign

    def _begin(self, answer: str | None) -> None:
        if answer == "try":
            self._app.session.try_settings(BUDGET_S)
        self._app.look_again()

    def leave(self) -> None:
        """What `q` means while an experiment goes on."""
        trials = self._app.view.trials
        text = "An experiment goes on."
        if trials is not None and trials.stopping:
            text = "It was asked to stop. Stopped once more, its trial is ended without patience."
        self._open("leave?", text, LEAVE, self._left)

    def _left(self, answer: str | None) -> None:
        if answer == "detach":
            self._app.leave()
        elif answer == "stop":
            self._leaves = True
            self._app.session.stop_trying()
        self._app.look_again()

    def look(self) -> None:
        """After each tick: whether the conductor asks something, or has ended as it was asked to."""
        trials = self._app.view.trials
        if trials is None or not trials.over:
            return
        if self._leaves:
            self._app.leave()
            return
        if trials.asks and self._asked != trials.group.run and not self._app.busy:
            self._asked = trials.group.run
            self._ask_about_files(trials.group)

    def _ask_about_files(self, group: Group) -> None:
        files = [printable(file) for file in group.wrote[:SHOWN]]
        if len(group.wrote) > SHOWN:
            files.append(f"and {len(group.wrote) - SHOWN} more")
        words = [
            "While the script ran, these files were written; each trial may write them again:",
            *files,
            "It can leave that out where TFGPU_TUI_TRIAL=1 stands in its environment.",
        ]
        self._open("go on?", "\n".join(words), WRITE, self._may_write)

    def _may_write(self, answer: str | None) -> None:
        if answer == "write":
            self._app.session.go_on_trying()
        elif answer == "leave":
            self._app.leave()
        self._app.look_again()

    def _open(self, title: str, text: str, choices: tuple[Choice, ...], then: object) -> None:
        dialog = Dialog(title, text, choices, lambda: self._app.view, self._app.palette)
        self._app.push_screen(dialog, then)  # type: ignore[arg-type]
