"""This process's own stdin, stdout and stderr, made so that neither an encoding nor a closed stream breaks a command.

The script's streams are not touched: it inherits the descriptors as they are, the closed ones closed.
"""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO

_PLAIN = {"…": "...", "–": "-", "—": "-", "·": ".", "µ": "u", "→": "->", "±": "+-", "×": "x"}


class Unwritable(Exception):
    """stdout does not take what was printed; the text is the reason."""


class _Output(io.TextIOWrapper):
    """stdout, whose errors are told from those of every other file."""

    def write(self, text: str) -> int:
        with _told():
            return super().write(text)

    def flush(self) -> None:
        with _told():
            super().flush()


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Unwritable(error.strerror) from error


def prepare() -> None:
    """To be called once, before anything is opened. What an encoding lacks is written plainly, or as an escape."""
    for fd in (0, 1, 2):
        _reserve(fd)
    codecs.register_error("plain", _in_plain)
    sys.stdout = _Output(
        io.BufferedWriter(io.FileIO(1, "w", closefd=False)),  # closed by the caller: a write fails, and that is said
        encoding=_encoding(sys.stdout),
        errors="plain",
        line_buffering=os.isatty(1),
    )
    if sys.stderr is None:  # `print(file=None)` would take stdout
        sys.stderr = io.TextIOWrapper(io.FileIO(os.open(os.devnull, os.O_WRONLY), "w"), encoding="utf-8")
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(encoding=_encoding(sys.stderr), errors="plain")


def _encoding(stream: TextIO | None) -> str:
    """The stream's own; no terminal understands UTF-16 (PYTHONIOENCODING), least of all its escape sequences."""
    if stream is None or (stream.isatty() and "\x1b".encode(stream.encoding) != b"\x1b"):
        return "utf-8"
    return stream.encoding


def _reserve(fd: int) -> None:
    """A closed descriptor would be the number of the next file that is opened, and whoever writes to "stdout" would
    write into that. Not inherited: the script finds it closed."""
    try:
        os.fstat(fd)
    except OSError:
        os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free: this one


def _in_plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in characters), error.end


def let_go() -> None:
    """Before the end of a process whose stdout or stderr takes no more: keeps the interpreter's last flush quiet."""
    for stream, fd in ((sys.stdout, 1), (sys.stderr, 2)):
        try:
            stream.flush()
        except (OSError, Unwritable, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), fd)


def screen_is_possible() -> bool:
    """Textual draws on stderr and reads stdin: both must be a terminal that can do more than print lines."""
    return os.isatty(0) and os.isatty(2) and os.environ.get("TERM", "dumb") not in ("dumb", "")
