"""The bytes that a script writes to its terminal, as coloured lines (pure: no widget, no I/O).

A training script's output is no plain text: Keras rewrites its progress bar with backspaces, carriage returns and
colours, loggers emit escape sequences, and bytes arrive cut anywhere. `TerminalLines.feed` understands what such
programs use (`\\r \\b \\t \\n`, CSI A B C D G K J and SGR colours) and drops every other control sequence, so that
nothing a script prints can steer the reader's terminal. Lines are not wrapped: the reader's window is not the script's.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import deque
from dataclasses import replace
from functools import lru_cache

from tfgpu_tui.core.quick import dataclass

Colour = int | tuple[int, int, int] | None
"""0..255 of the xterm palette, an RGB triple, or None for the terminal's own."""


@dataclass(frozen=True)
class TextStyle:
    """What SGR sequences set, as far as a monitor shows it (blinking and hidden text are not kept)."""

    fg: Colour = None
    bg: Colour = None
    bold: bool = False
    dim: bool = False
    italic: bool = False
    underline: bool = False
    reverse: bool = False


PLAIN = TextStyle()
Span = tuple[str, TextStyle]
Line = tuple[Span, ...]

WINDOW_ROWS = 64
"""How far up `CSI A` can reach: progress displays of several bars redraw a few rows, never the scrollback."""
MAX_CELLS = 2000
"""Cells kept of one line; a line without an end (a binary file sent to stdout) must not grow for ever."""
MAX_MARKS = 8
"""Combining characters kept of one cell."""
_TAB = 8

# A string (OSC, DCS, …) is broken off by the start of another one, as by its end: a match never scans further than
# one string, so that no input takes more than linear time.
_STRING = r"(?:\x1b[P\]X^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*"
_TOKEN = re.compile(
    r"(?P<text>[^\x00-\x1f\x7f-\x9f]+)"
    r"|(?P<csi>(?:\x1b\[|\x9b)(?P<params>[0-?]*)(?P<inter>[ -/]*)(?P<final>[@-~]))"
    rf"|(?P<string>{_STRING}(?:\x07|\x1b\\|\x9c))"
    r"|(?P<esc>\x1b[ -/]*[0-OQ-WYZ\\`-~])"
    r"|(?P<ctl>[\x00-\x1f\x7f-\x9f])"
)
_INCOMPLETE = re.compile(rf"(?:(?:\x1b\[|\x9b)[0-?]*[ -/]*|{_STRING}\x1b?|\x1b[ -/]*)\Z")
_PENDING_LIMIT = 4096
"""Characters of an unfinished sequence that wait for the rest; a longer one loses its start and shows as text."""


@lru_cache(maxsize=4096)
def char_width(char: str) -> int:
    """Terminal cells of one character: 0 (combining), 1 or 2; -1 for what must not be printed at all: controls,
    surrogates, and the invisible format characters (Cf, among them the bidirectional overrides) that can make a line
    read differently from what it holds."""
    category = unicodedata.category(char)
    if category in ("Cc", "Cs", "Cf", "Zl", "Zp"):
        return -1
    if category in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def printable(text: str, instead: str = "·") -> str:
    """`text` on one line, safe for a terminal: every character that `char_width` refuses becomes `instead`. For names
    that a script chose: layers, metrics, files."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(instead if char_width(c) < 0 else c for c in text)


def printable_lines(text: str) -> str:
    """`text` of several lines, each safe for a terminal: the last door for reports and lists that hold such names."""
    return "\n".join(printable(line) for line in text.split("\n"))


def _combine(cells: list[str], end: int, mark: str) -> None:
    """Adds a combining character to the one that stands before `end`; a few, not a line full of them."""
    at = end - 2 if end > 1 and not cells[end - 1] else end - 1
    if at >= 0 and cells[at] and len(cells[at]) <= MAX_MARKS:
        cells[at] += mark


class _Row:
    """A line that can still change: one character and one style a cell; the right half of a wide character is ''."""

    __slots__ = ("chars", "styles")

    def __init__(self) -> None:
        self.chars: list[str] = []
        self.styles: list[TextStyle] = []

    def write(self, column: int, text: str, style: TextStyle) -> int:
        """Overwrites from `column` and returns the column after the text."""
        if text.isascii():
            cells = list(text)
        else:
            cells = []
            for char in text:
                width = char_width(char)
                if width > 0:
                    cells.append(char)
                    if width == 2:
                        cells.append("")
                elif width == 0 and cells:
                    _combine(cells, len(cells), char)
                elif width == 0:  # its character came with the bytes before these
                    _combine(self.chars, min(column, len(self.chars)), char)
        cells = cells[: max(0, MAX_CELLS - column)]
        if not cells:
            return column
        if column > len(self.chars):
            self._pad(column)
        end = column + len(cells)
        self._split_wide(column)
        if end < len(self.chars):
            self._split_wide(end)
        self.chars[column:end] = cells
        self.styles[column:end] = [style] * len(cells)
        return end

    def erase(self, start: int, end: int | None) -> None:
        if end is None or end >= len(self.chars):
            del self.chars[start:], self.styles[start:]
            return
        self._split_wide(start)
        self._split_wide(end)
        self.chars[start:end] = [" "] * (end - start)
        self.styles[start:end] = [PLAIN] * (end - start)

    def _pad(self, column: int) -> None:
        missing = column - len(self.chars)
        self.chars.extend([" "] * missing)
        self.styles.extend([PLAIN] * missing)

    def _split_wide(self, column: int) -> None:
        """A write that begins or ends inside a wide character leaves a space where its other half was."""
        if 0 < column < len(self.chars) and self.chars[column] == "":
            self.chars[column - 1] = self.chars[column] = " "

    def line(self) -> Line:
        """The row as spans of one style each, without trailing blanks."""
        spans: list[Span] = []
        start = 0
        end = len(self.chars)
        while end and self.chars[end - 1] == " " and self.styles[end - 1].bg is None:
            end -= 1
        for i in range(1, end + 1):
            if i == end or self.styles[i] != self.styles[start]:
                spans.append(("".join(self.chars[start:i]), self.styles[start]))
                start = i
        return tuple(span for span in spans if span[0])


class TerminalLines:
    """Assembles a byte stream into lines and keeps the last `scrollback` of them.

    `lines()` is the text from oldest to newest, the unfinished last line included; `changed` counts calls of `feed`
    that changed something, so that a reader can skip work when nothing did.
    """

    def __init__(self, scrollback: int = 5000) -> None:
        self._done: deque[Line] = deque(maxlen=max(1, scrollback))
        self._rows: list[_Row] = [_Row()]
        self._cache: list[Line | None] = [None]
        self._row = 0
        self._column = 0
        self._style = PLAIN
        self._pending = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self.changed = 0

    def feed(self, data: bytes) -> None:
        """Takes the next bytes, cut anywhere (in the middle of a character or of an escape sequence)."""
        text = self._pending + self._decoder.decode(data)
        self._pending = ""
        if not text:
            return
        cut = _INCOMPLETE.search(text, max(0, len(text) - _PENDING_LIMIT))
        if cut and cut.group():
            self._pending, text = cut.group(), text[: cut.start()]
        for token in _TOKEN.finditer(text):
            kind = token.lastgroup
            if token["text"] is not None:
                self._put(token["text"])
            elif token["ctl"] is not None:
                self._control(token["ctl"])
            elif token["csi"] is not None and kind is not None:
                self._csi(token["params"], token["inter"], token["final"])
        self.changed += 1

    def lines(self, first: int = 0, last: int | None = None) -> list[Line]:
        """Lines `first:last` as in a slice of the whole scrollback; negative numbers count from the end."""
        count = len(self)
        start, stop, _ = slice(first, last).indices(count)
        done = len(self._done)
        out = [self._done[i] for i in range(start, min(stop, done))] if start < done else []
        out.extend(self._live(i - done) for i in range(max(start, done), stop))
        return out

    def __len__(self) -> int:
        live = len(self._rows)
        if not self._rows[-1].chars and live > 1:
            live -= 1
        elif live == 1 and not self._rows[0].chars:
            live = 0
        return len(self._done) + live

    def text(self) -> str:
        """All lines without colours, for tests and reports."""
        return "\n".join("".join(part for part, _ in line) for line in self.lines())

    def _live(self, index: int) -> Line:
        cached = self._cache[index]
        if cached is None:
            cached = self._cache[index] = self._rows[index].line()
        return cached

    def _put(self, text: str) -> None:
        self._column = self._rows[self._row].write(self._column, text, self._style)
        self._cache[self._row] = None

    def _control(self, char: str) -> None:
        if char == "\n":
            self._line_feed()
        elif char == "\r":
            self._column = 0
        elif char == "\b":
            self._column = max(0, self._column - 1)
        elif char == "\t":
            self._column = min((self._column // _TAB + 1) * _TAB, MAX_CELLS)

    def _line_feed(self) -> None:
        """To the start of the next row: a PTY made `\\r\\n` of the script's `\\n`; a pipe leaves it alone."""
        self._row += 1
        self._column = 0
        if self._row < len(self._rows):
            return
        self._rows.append(_Row())
        self._cache.append(None)
        if len(self._rows) > WINDOW_ROWS:
            self._done.append(self._live(0))
            del self._rows[0], self._cache[0]
            self._row -= 1

    def _csi(self, params: str, intermediate: str, final: str) -> None:
        if intermediate or params[:1] in ("<", "=", ">", "?"):
            return
        if final == "m":
            self._style = _sgr(self._style, params)
            return
        numbers = [int(p[:6]) if p.isdecimal() else 0 for p in params.split(";")]
        count = max(1, numbers[0])
        if final == "A":
            self._row = max(0, self._row - count)
        elif final == "B":
            self._row = min(len(self._rows) - 1, self._row + count)
        elif final == "C":
            self._column = min(MAX_CELLS, self._column + count)
        elif final == "D":
            self._column = max(0, self._column - count)
        elif final == "G":
            self._column = min(MAX_CELLS, count - 1)
        elif final == "K":
            self._erase_line(numbers[0])
        elif final == "J" and numbers[0] == 0:
            self._erase_line(0)
            for row in range(self._row + 1, len(self._rows)):
                self._rows[row].erase(0, None)
                self._cache[row] = None

    def _erase_line(self, mode: int) -> None:
        row = self._rows[self._row]
        if mode == 0:
            row.erase(self._column, None)
        elif mode == 1:
            row.erase(0, self._column + 1)
        elif mode == 2:
            row.erase(0, None)
        self._cache[self._row] = None


@lru_cache(maxsize=1024)
def _sgr(style: TextStyle, params: str) -> TextStyle:
    """The style after `CSI params m`; codes that are not known change nothing."""
    codes = [int(p) if p.isdecimal() and len(p) < 4 else 0 for p in re.split("[;:]", params)]
    i = 0
    while i < len(codes):
        code = codes[i]
        if code in (38, 48):
            colour, used = _extended_colour(codes[i + 1 :])
            if colour is not None:
                style = replace(style, fg=colour) if code == 38 else replace(style, bg=colour)
            i += used
        elif code == 0:
            style = PLAIN
        elif code in _SGR_FLAGS:
            style = replace(style, **_SGR_FLAGS[code])
        elif 30 <= code <= 37:
            style = replace(style, fg=code - 30)
        elif 40 <= code <= 47:
            style = replace(style, bg=code - 40)
        elif 90 <= code <= 97:
            style = replace(style, fg=code - 82)
        elif 100 <= code <= 107:
            style = replace(style, bg=code - 92)
        elif code == 39:
            style = replace(style, fg=None)
        elif code == 49:
            style = replace(style, bg=None)
        i += 1
    return style


_SGR_FLAGS: dict[int, dict[str, bool]] = {
    1: {"bold": True},
    2: {"dim": True},
    3: {"italic": True},
    4: {"underline": True},
    7: {"reverse": True},
    21: {"bold": False},
    22: {"bold": False, "dim": False},
    23: {"italic": False},
    24: {"underline": False},
    27: {"reverse": False},
}


def _extended_colour(rest: list[int]) -> tuple[Colour, int]:
    """The colour after 38 or 48 and how many codes it took: `5;n` or `2;r;g;b`."""
    if len(rest) >= 2 and rest[0] == 5:
        return (rest[1] if 0 <= rest[1] <= 255 else None), 2
    if len(rest) >= 4 and rest[0] == 2:
        red, green, blue = (min(255, c) for c in rest[1:4])
        return (red, green, blue), 4
    return None, len(rest)
