"""Dialogs over the screen: help, and the questions before a training is left, stopped or started again."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from textual import events
from textual.app import ComposeResult

from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.terminal.lines import printable
from tfgpu_tui.ui.draw import Box, Content, Row, fit, frame, wrap
from tfgpu_tui.ui.keys import GROUPS, SCROLL_HELP
from tfgpu_tui.ui.palette import Palette
from tfgpu_tui.ui.pane import Pane, RowsWidget
from tfgpu_tui.ui.question import Question
from tfgpu_tui.ui.view import View

WIDTH = 64


@dataclass(frozen=True)
class Choice:
    """One answer of a question."""

    key: str
    answer: str
    words: str
    show: str = ""


QUIT = (
    Choice("d", "detach", "detach: leave the screen, the training goes on"),
    Choice("s", "batch", "stop the training after this batch"),
    Choice("k", "kill", "kill the training now (SIGKILL)"),
    Choice("escape", "cancel", "stay here", "Esc"),
)
QUIT_RERUN = (
    Choice("d", "detach", "detach: leave the screen, the rerun starts by itself"),
    Choice("s", "batch", "take the rerun back: the training stops, and no other one starts"),
    Choice("k", "kill", "kill the training now (SIGKILL), without a rerun"),
    Choice("escape", "cancel", "stay here", "Esc"),
)
RERUN = (
    Choice("enter", "rerun", "stop this run after its batch and start again", "Enter"),
    Choice("escape", "cancel", "let it run", "Esc"),
)
FOREIGN = (
    Choice("x", "rerun", "run it"),
    Choice("escape", "cancel", "run nothing", "Esc"),
)
COMMAND_CHARACTERS, SETTINGS_CHARACTERS = 400, 120
"""Of a command that is asked about: so much is read before it is run, and leaves room for the answers. A longer one
would have an end that nobody sees: that is not run from here."""
DELETE = (
    Choice("x", "delete", "delete it"),
    Choice("escape", "cancel", "keep it", "Esc"),
)

WORDS: tuple[tuple[str, str], ...] = (
    ("step", "one batch through the optimiser; all times are per step"),
    ("input wait", "the training loop is blocked on the next batch: nothing is computed meanwhile"),
    ("compute", "inside the train function, less input wait"),
    ("host", "between steps: callbacks, metrics, logging, the script's own Python"),
    ("warming up", "the first steps trace, compile and fill buffers: shown, never judged"),
    ("ex/s", "examples through the optimiser per second"),
    ("GPU busy", "share of time in which any kernel ran on the GPU: not how much of it is used"),
    ("in use", "GPU memory that TensorFlow's tensors take now"),
    ("reserved", "GPU memory that TensorFlow took from the driver, used or not: the dashed line"),
    (
        "memory growth",
        "on: TensorFlow takes GPU memory as it needs it; off: nearly all at the start",
    ),
    ("CPU", "the training's processes together: 100 % is one core"),
    ("busiest core", "a core at 100 % while others idle: one Python thread holds the training back"),
    ("host memory", "memory (RSS) of the training's processes"),
    ("ms a batch", "what a stage of the pipeline needs for one batch, divided by how many run at a time"),
    ("at a time", "parallel calls of a stage; auto: TensorFlow chooses the number"),
    ("buffer", "elements waiting in a stage's buffer, of how many it can hold"),
    ("forward, backward", "the device on which a layer's operations really ran; with counts where they are split"),
    (
        "axis marks",
        "e2: epoch 2 began; v: validation; c: a checkpoint was written; r: a function was traced again; "
        "k: the run was started with changed settings; p: the profiler looked inside a few steps",
    ),
    ("others", "GPU memory held by processes that are not of this run"),
    ("in force", "what a setting really is, read back after the first step; – before that, or where it can't be read"),
    ("over", "findings that stood for a while and no longer do, with when"),
    ("finding", "what is wrong, its evidence, the next step; critical from 20 % of the step time, warning from 10 %"),
    ("–", "not known; unknown is never shown as zero"),
)


def foreign_text(command: str, asked: Mapping[str, str], stops: bool) -> str:
    """The question before a run that may be somebody else's is started again: with the very command, and the settings
    that it gets."""
    when = ", once this one has stopped after its batch" if stops else ""
    lines = [
        f"This run does not come from your own list of runs. Its command would run with your rights{when}:",
        printable(command),
    ]
    if asked:
        settings = ", ".join(f"{name}={value}" for name, value in asked.items())
        lines.append(f"settings: {_beginning(settings, SETTINGS_CHARACTERS)}")
    return "\n".join(lines)


def _beginning(text: str, characters: int) -> str:
    shown, more = printable(text), len(text) - characters
    return shown if more <= 0 else f"{shown[:characters]} … and {more} characters more"


class Dialog(Question[str]):
    """A question: one key an answer; dismisses with the answer's name."""

    def __init__(
        self,
        title: str,
        text: str,
        choices: tuple[Choice, ...],
        view: Callable[[], View],
        palette: Callable[[], Palette],
    ) -> None:
        super().__init__()
        self._title, self._text, self._choices, self._view, self._palette = title, text, choices, view, palette

    def compose(self) -> ComposeResult:
        yield RowsWidget("question", self._palette, classes="dialog-body")

    def on_mount(self) -> None:
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        width = min(WIDTH, self.app.size.width)
        inner = width - 4
        rows: list[Row] = [((line, ""),) for part in self._text.split("\n") for line in wrap(part, inner)]
        rows.append(())
        for choice in self._choices:
            for i, line in enumerate(wrap(choice.words, inner - 8)):
                rows.append(((f" {(choice.show or choice.key) if i == 0 else '':<6} ", "key"), (line, "")))
        content = Content(title=((self._title, ""),), count=len(rows), line=rows.__getitem__, box="info")
        body = self.query_one(RowsWidget)
        height = min(len(rows) + 2, self.app.size.height)
        body.styles.width, body.styles.height = width, height
        body.show(frame(content, Box(width, height), self._view().glyphs))

    def on_key(self, event: events.Key) -> None:
        event.stop()
        wanted = {"ctrl+c": "escape", "q": "escape"}.get(event.key, event.key)
        for choice in self._choices:
            if choice.key == wanted:
                self.close_with(choice.answer)
                return


class Page(Question[None]):
    """A text over the screen, to read and scroll: the help, the explanation of a finding. Esc, or the key that opened
    it, closes it."""

    def __init__(
        self,
        name: str,
        content: Callable[[View, Box], Content],
        opened_by: str,
        view: Callable[[], View],
        palette: Callable[[], Palette],
    ) -> None:
        super().__init__()
        self._pane = Pane(name, content, view, palette)
        self._closes = {opened_by, "escape", "q", "ctrl+c", "enter"}

    def compose(self) -> ComposeResult:
        yield self._pane

    def on_mount(self) -> None:
        self._place()

    def on_resize(self) -> None:
        self._place()

    def _place(self) -> None:
        pane = self._pane
        width, height = min(100, self.app.size.width), self.app.size.height
        pane.styles.width, pane.styles.height = width, height
        pane.styles.offset = ((self.app.size.width - width) // 2, 0)
        pane.focus()

    def on_key(self, event: events.Key) -> None:
        if event.key in self._closes:
            event.stop()
            self.close_with()


def help_content(view: View, box: Box) -> Content:
    """The help as rows."""
    width = box.width - 4
    rows: list[Row] = []
    for group, words in GROUPS.items():
        rows.append(((f"keys: {words}", "title"),))
        for key in view.keys:
            if key.group == group:
                rows += _entry(key.label, key.help, 11, width)
        if group == "look":
            rows += _entry("↑ ↓ …", SCROLL_HELP, 11, width)
            rows += _entry("← →", "fold and unfold a layer; move lines that are longer than the output pane", 11, width)
        rows.append(())
    rows.append((("words", "title"),))
    for word, words in WORDS:
        rows += _entry(word, words, 19, width)
    return Content(
        title=(("help", ""),), right=(("Esc closes, ↑ ↓ scroll", "muted"),), count=len(rows), line=rows.__getitem__,
        box="info",
    )  # fmt: skip


def _entry(head: str, words: str, column: int, width: int) -> list[Row]:
    return [
        fit(((f"  {head if i == 0 else '':<{column}}", "key"), (line, "")), width)
        for i, line in enumerate(wrap(words, width - column - 2))
    ]
