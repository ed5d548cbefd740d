"""What a script prints, as its reader sees it."""

from __future__ import annotations

import random
import time

import pytest

from tfgpu_tui.terminal.lines import MAX_CELLS, PLAIN, WINDOW_ROWS, TerminalLines, TextStyle, char_width, printable


def text_of(*parts: bytes) -> str:
    terminal = TerminalLines()
    for part in parts:
        terminal.feed(part)
    return terminal.text()


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (b"one\r\ntwo\r\n", "one\ntwo"),
        (b"one\ntwo", "one\ntwo"),
        (b"10%\r20%\r30%", "30%"),
        (b"abc\b\bX", "aXc"),
        (b"progress 10\rdone\x1b[K", "done"),
        (b"a\tb", "a       b"),
        (b"first\r\nsecond\x1b[A\rFIRST\n", "FIRST\nsecond"),
        (b"\x1b[31mred\x1b[0m plain", "red plain"),
        (b"\x1b]0;title\x07shown", "shown"),
        (b"\x1bPdevice\x1b\\shown", "shown"),
        (b"\x1b[?25lhidden cursor\x1b[?25h", "hidden cursor"),
        (b"\x1b[2J\x1b[Htop", "top"),
        (b"\x07bell\x00nul\x7f", "bellnul"),
        (b"bad \xff byte", "bad � byte"),
        ("\u65e5\u672c ok".encode(), "\u65e5\u672c ok"),
        ("e\u0301x".encode(), "e\u0301x"),
        (b"x   \r\n", "x"),
        (b"\x1b[3Gc\x1b[1Ga", "a c"),
    ],
)
def test_lines(written: bytes, read: str) -> None:
    assert text_of(written) == read


def test_the_cut_between_two_reads_makes_no_difference() -> None:
    written = "\x1b[1m 90/200\x1b[0m \x1b[38;5;32m━━\x1b[0m é日\x1b]0;t\x07\b\b\r\nnext".encode()
    whole = TerminalLines()
    whole.feed(written)
    for cut in range(len(written)):
        terminal = TerminalLines()
        terminal.feed(written[:cut])
        terminal.feed(written[cut:])
        assert terminal.lines() == whole.lines(), cut


def test_colours_become_styles() -> None:
    terminal = TerminalLines()
    terminal.feed(b"\x1b[1;32mgreen\x1b[0m \x1b[38;2;1;2;3;48;5;200mrgb\x1b[22;39;49m.")
    assert terminal.lines()[0] == (
        ("green", TextStyle(fg=2, bold=True)),
        (" ", PLAIN),
        ("rgb", TextStyle(fg=(1, 2, 3), bg=200)),
        (".", PLAIN),
    )


def test_keras_progress_bar_leaves_one_line_an_epoch() -> None:
    terminal = TerminalLines()
    terminal.feed(b"Epoch 1/2\r\n")
    for step in range(1, 101):
        bar = f"\x1b[1m{step:>3}/100\x1b[0m \x1b[32m{'━' * (step // 5):<20}\x1b[0m 31ms/step - loss: {1 / step:.4f}"
        terminal.feed(b"\b" * 70 + b"\r" + bar.encode())
    terminal.feed(b"\r\nEpoch 2/2\r\n")
    assert terminal.text().splitlines() == [
        "Epoch 1/2",
        f"100/100 {'━' * 20} 31ms/step - loss: 0.0100",
        "Epoch 2/2",
    ]


def test_a_wide_character_that_is_half_overwritten_leaves_a_blank() -> None:
    assert text_of("日本\r".encode(), b"x") == "x 本"
    assert text_of("日本\b".encode(), b"x") == "日 x"


def test_scrollback_and_lines_are_bounded() -> None:
    terminal = TerminalLines(scrollback=100)
    for i in range(1000):
        terminal.feed(f"line {i}\n".encode())
    assert len(terminal) <= 100 + WINDOW_ROWS
    assert terminal.lines(-1)[0][0][0] == "line 999"
    terminal.feed(b"x" * 100_000)
    assert sum(len(part) for part, _ in terminal.lines(-1)[0]) <= MAX_CELLS


def test_nothing_that_steers_a_terminal_passes() -> None:
    rng = random.Random(20261121)
    alphabet = [bytes([i]) for i in range(256)] + [
        b"\x1b[",
        b"\x1b]",
        b"\x1bP",
        b"\x9b",
        b"\xc2\x9d",
        b"m",
        b";",
        b"38;5",
    ] * 8
    for _ in range(300):
        terminal = TerminalLines(scrollback=50)
        data = b"".join(rng.choice(alphabet) for _ in range(400))
        cut = rng.randrange(len(data))
        terminal.feed(data[:cut])
        terminal.feed(data[cut:])
        for line in terminal.lines():
            for part, _ in line:
                assert all(char_width(c) >= 0 for c in part), repr(part)


@pytest.mark.parametrize(
    "hostile", [b"\xc2\x9d", b"\x1b]", b"\x1b[1;", b"\xc2\x9d\x07", b"\x1b[9999999999999999A", b"\x1b"]
)
def test_hostile_output_takes_linear_time(hostile: bytes) -> None:
    terminal = TerminalLines()
    began = time.perf_counter()
    terminal.feed(hostile * (200_000 // len(hostile)))
    terminal.feed(b"\x07\r\nstill here\n")
    # Quadratic matching took minutes; the bound is loose because the machine is shared.
    assert time.perf_counter() - began < 5
    assert "still here" in terminal.text()


def test_names_are_made_printable() -> None:
    assert printable("conv2d/kernel:0") == "conv2d/kernel:0"
    assert printable("a\x1b[2Jb\nc\u202edexe") == "a·[2Jb·c·dexe"


def test_a_mark_joins_the_character_that_came_before_it() -> None:
    assert text_of(b"e", "\u0301".encode(), b"x") == "e\u0301x"
    assert text_of("\u65e5".encode(), "\u0301".encode()) == "\u65e5\u0301"
    assert len(text_of(b"e" + "\u0301".encode() * 10_000)) < 20, "a cell does not grow for ever"
