"""A list over the screen to choose from, and a line to type into: for commands, settings, runs and searches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from textual import events
from textual.app import ComposeResult

from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.ui.draw import Box, Content, Row, fit, frame, to_ascii, wrap
from tfgpu_tui.ui.palette import Palette
from tfgpu_tui.ui.pane import RowsWidget
from tfgpu_tui.ui.question import Question
from tfgpu_tui.ui.view import View


@dataclass(frozen=True)
class Item:
    """One line of a list."""

    name: str
    """What is handed back."""
    row: Row
    note: str = ""
    """Said below the list while the item is chosen."""

    @property
    def words(self) -> str:
        return f"{self.name} {' '.join(text for text, _ in self.row)}".lower()


@dataclass(frozen=True)
class Chosen:
    """What its reader did: the answer's name and the item's."""

    answer: str
    item: str


class Picker(Question[Chosen | None]):
    """A list with a cursor. `answers` maps keys to (answer, word for the foot). Where `typed`, letters narrow the list;
    `stay` may carry an answer out at once (True: the list stays open)."""

    def __init__(
        self,
        title: str,
        items: Callable[[], Sequence[Item]],
        answers: Mapping[str, tuple[str, str]],
        view: Callable[[], View],
        palette: Callable[[], Palette],
        *,
        typed: bool = False,
        at: str | None = None,
        head: Row = (),
        stay: Callable[[Chosen], bool] = lambda chosen: False,
    ) -> None:
        super().__init__()
        self._title, self._items, self._answers, self._typed, self._head = title, items, answers, typed, head
        self._view, self._palette, self._stay = view, palette, stay
        names = [item.name for item in items()]
        self.cursor = names.index(at) if at in names else 0
        self.filter = ""

    def compose(self) -> ComposeResult:
        yield RowsWidget("picker", self._palette, classes="dialog-body")

    def on_mount(self) -> None:
        self.draw()

    def on_resize(self) -> None:
        self.draw()

    @property
    def shown(self) -> list[Item]:
        """The items that hold every word of the filter."""
        words = self.filter.lower().split()
        return [item for item in self._items() if all(word in item.words for word in words)]

    def draw(self) -> None:
        """Draws the list as it is now."""
        shown = self.shown
        self.cursor = max(0, min(self.cursor, len(shown) - 1))
        width, height = min(100, self.app.size.width), max(8, min(30, self.app.size.height - 2))
        inner = width - 4
        pinned: list[Row] = [fit(self._head, inner)] if self._head else []
        if self._typed:
            pinned.append((("type to search: ", "muted"), (self.filter, "bold"), ("_", "cursor")))
        note = shown[self.cursor].note if shown else "nothing here has these words" if self.filter else "nothing here"
        notes: list[Row] = [((line, "muted"),) for line in wrap(note, inner)[:3]]
        room = height - 2 - len(pinned) - 1 - 3
        first = max(0, min(self.cursor - room // 2, len(shown) - room))
        body: list[Row] = []
        for i, item in enumerate(shown[first : first + room], first):
            row = fit(item.row, inner)
            body.append(tuple((text, "cursor") for text, _ in row) if i == self.cursor else row)
        body += [()] * (room - len(body) + 1)
        rows = [*pinned, *body, *notes]
        foot: list[tuple[str, str]] = []
        for key, (_, word) in self._answers.items():
            foot += [(_SHOWN.get(key, key), "key"), (f" {word}  ", "")]
        content = Content(
            title=((self._title, ""),),
            right=((f"{self.cursor + 1} of {len(shown)}", "muted"),) if shown else (),
            count=len(rows), line=rows.__getitem__, box="info",
            bottom=(*foot, ("Esc", "key"), (" closes", "")),
        )  # fmt: skip
        widget = self.query_one(RowsWidget)
        widget.styles.width, widget.styles.height = width, height
        widget.show(frame(content, Box(width, height), self._view().glyphs))

    def on_key(self, event: events.Key) -> None:
        event.stop()
        if event.key in ("escape", "ctrl+c") or (event.key == "q" and not self._typed):
            self.close_with(None)
            return
        if event.key in _MOVES:
            self.cursor += _MOVES[event.key]
        elif event.key in self._answers:
            self._answer(self._answers[event.key][0])
            return
        elif self._typed and event.key == "backspace":
            self.filter = self.filter[:-1]
        elif self._typed and event.character and event.is_printable:
            self.filter, self.cursor = self.filter + event.character, 0
        self.draw()

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.cursor += 1
        self.draw()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.cursor -= 1
        self.draw()

    def _answer(self, answer: str) -> None:
        shown = self.shown
        if not shown:
            return
        chosen = Chosen(answer, shown[self.cursor].name)
        if self._stay(chosen):
            self.draw()
        else:
            self.close_with(chosen)


_MOVES = {"up": -1, "down": 1, "pageup": -10, "pagedown": 10, "home": -(10**9), "end": 10**9}
_SHOWN = {"enter": "Enter", "delete": "Del", "space": "space"}


LOOK_S = 0.5
UNSEEN_HINT = "the script hides what is typed here: so does this line. Enter sends it, Esc ends"


class Prompt(Question[str | None]):
    """A line at the bottom to type into. Enter hands the text back, Esc None. `typing` hears every change. Where
    `check` finds something wrong, its words stand beside the text and the line stays open; where `again` is given,
    Enter hands the text to it and the line stays open for the next. While `unseen` says so, dots stand for the text."""

    def __init__(
        self,
        label: str,
        hint: str,
        view: Callable[[], View],
        palette: Callable[[], Palette],
        *,
        text: str = "",
        typing: Callable[[str], None] = lambda text: None,
        check: Callable[[str], str | None] = lambda text: None,
        again: Callable[[str], bool] | None = None,
        unseen: Callable[[], bool] | None = None,
    ) -> None:
        super().__init__()
        self._label, self._hint, self._view, self._palette = label, hint, view, palette
        self.text, self._typing, self._check, self._again = text, typing, check, again
        self._look, self._unseen = unseen, False
        self._wrong: str | None = None

    def compose(self) -> ComposeResult:
        yield RowsWidget("prompt", self._palette, classes="prompt-line")

    def on_mount(self) -> None:
        self._look_again()
        if self._look is not None:
            self.set_interval(LOOK_S, self._look_again)

    def _look_again(self) -> None:
        """The script may turn its echo on or off at any time. What was once unseen stays so until the line is empty."""
        if self._look is not None:
            self._unseen = (self._unseen and bool(self.text)) or self._look()
        self._draw()

    def on_resize(self) -> None:
        self._draw()

    def _draw(self) -> None:
        columns, rows = self.app.size
        widget = self.query_one(RowsWidget)
        widget.styles.width, widget.styles.height = columns, 1
        widget.styles.offset = (0, rows - 1)
        room = max(8, columns - len(self._label) - 6)
        dot = "*" if self._view().glyphs.ascii else "•"
        shown = (dot * len(self.text) if self._unseen else self.text)[-room:]
        wanted = UNSEEN_HINT if self._unseen else self._hint
        hint = self._wrong or (wanted if len(shown) + len(wanted) + 2 <= room else "")
        role = "warning" if self._wrong else "muted"
        row = fit(((f" {self._label} ", "key"), (shown, ""), (" ", "cursor"), (f"  {hint}", role)), columns)
        widget.show([to_ascii(row) if self._view().glyphs.ascii else row])

    def on_key(self, event: events.Key) -> None:
        event.stop()
        if event.key in ("escape", "ctrl+c"):
            self.close_with(None)
        elif event.key == "enter":
            self._wrong = self._check(self.text)
            if self._wrong is not None:
                pass
            elif self._again is None:
                self.close_with(self.text)
            elif self._again(self.text):
                self._change("")
        elif event.key in ("backspace", "ctrl+h"):
            self._change(self.text[:-1])
        elif event.key == "ctrl+u":
            self._change("")
        elif event.character and event.is_printable:
            self._change(self.text + event.character)
        self._draw()

    def on_paste(self, event: events.Paste) -> None:
        event.stop()
        self._change(self.text + "".join(c for c in event.text if c.isprintable()))
        self._draw()

    def _change(self, text: str) -> None:
        begins = not self.text or not text
        self.text, self._wrong = text, None
        self._typing(text)
        if begins:  # before its first character is drawn
            self._look_again()
