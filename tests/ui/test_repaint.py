"""What is left out of a repaint: only what is there already."""

from __future__ import annotations

import fcntl
import re
import struct
import termios
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ui import recording
from tests.ui.conftest import FakeControl, now_script, screen, until
from tests.ui.test_pty import Terminal
from tfgpu_tui.core import events as ev
from tfgpu_tui.diagnose import diagnose
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.rundir import JournalReader, JournalWriter, RunDir
from tfgpu_tui.terminal.lines import TerminalLines
from tfgpu_tui.ui.draw import Box, Row, frame
from tfgpu_tui.ui.panes import DRAWN_FROM, PANES
from tfgpu_tui.ui.view import View

RECORDINGS = Path(__file__).parents[2] / "demo" / "recordings"
COLUMNS, ROWS = 160, 45
QUIET_S = 1.2
"""Longer than anything is held back: what is not sent by then does not come."""


@pytest.mark.parametrize("path", sorted(RECORDINGS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_a_pane_that_is_not_drawn_again_would_have_looked_the_same(path: Path) -> None:
    view = View(lines=TerminalLines())
    box = Box(100, 20)
    before: dict[str, tuple[object, list[Row]]] = {}
    drawn = 0
    with JournalReader(rundir.find(str(path)).journal) as reader:
        for n, event in enumerate(reader):
            view.state.apply(event)
            view.now = view.state.now
            if n % 40 == 0:
                view.findings = [(finding, view.now) for finding in diagnose(view.state)]
            if n % 7 == 0:
                view.lines.feed(f"line {n}\r\n".encode())
            for name, drawn_from in DRAWN_FROM.items():
                key = drawn_from(view)
                rows = frame(PANES[name](view, replace(box, height=19)), box, view.glyphs)
                if key is not None and name in before and before[name][0] == key:
                    assert rows == before[name][1], f"{name} after {event}"
                    drawn += 1
                before[name] = (key, rows)
    assert drawn


def screen_of(seen: bytes, columns: int = COLUMNS, rows: int = ROWS) -> list[str]:
    """What a terminal shows after these bytes: moves, line ends and text."""
    cells = [[" "] * columns for _ in range(rows)]
    x = y = 0
    for token in re.finditer(
        r"\x1b\[([?\d;]*)([A-Za-z])|\x1b[P\]].*?(?:\x07|\x1b\\)|\x1b.|\r|\n|[^\x1b\r\n]",
        seen.decode(errors="ignore"),
        re.S,
    ):
        text = token.group()
        if token[2] == "H":
            y, x = (int(n or 1) - 1 for n in (token[1] + ";").split(";")[:2])
        elif text == "\r":
            x = 0
        elif text == "\n":
            y += 1
        elif len(text) == 1:
            if y < rows and x < columns:
                cells[y][x] = text
            x += 1
    return ["".join(row) for row in cells]


@pytest.fixture
def live(tmp_path: Path) -> Iterator[tuple[Terminal, recording.Script, JournalWriter]]:
    script = now_script(8)
    run = recording.write(tmp_path / "train-1", recording.everything(script, 8), recording.output_text())
    writer = JournalWriter(run.journal)
    terminal = Terminal(run, {}, COLUMNS, ROWS)
    yield terminal, script, writer
    terminal.close()
    writer.close()


def quiet(terminal: Terminal) -> bytes:
    """Reads until nothing more comes, and returns everything that came."""
    deadline = time.monotonic() + 60
    last, since = b"", time.monotonic()
    while time.monotonic() - since < QUIET_S:
        assert time.monotonic() < deadline, "the screen of a run that is over goes on sending"
        terminal._read(0.1)
        if terminal.seen != last:
            last, since = terminal.seen, time.monotonic()
    return last


def test_cell_by_cell_the_terminal_comes_to_show_what_a_whole_repaint_shows(
    live: tuple[Terminal, recording.Script, JournalWriter],
) -> None:
    terminal, script, writer = live
    terminal.read_until("Input-bound")
    for n, batch in enumerate(recording.training(script, 3.0, begin=11.5)):
        for event in batch:
            writer.append(event)
        words = f"loss {n + 2}.5"
        writer.append(ev.Metrics(t=batch[0].t, src="agent", step=900 + n, values={"loss": n + 2.5}))
        deadline = time.monotonic() + 60
        while words not in "\n".join(screen_of(terminal.seen)):
            assert time.monotonic() < deadline, "\n".join(screen_of(terminal.seen))
            terminal._read(0.05)
    writer.append(ev.RunEnded(t=script.start + 16, src="child", exit_code=0, wall_s=16.0))
    terminal.read_until("finished")
    shown = screen_of(quiet(terminal))
    for rows in (ROWS - 1, ROWS):
        terminal.seen = b""
        fcntl.ioctl(terminal.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, COLUMNS, 0, 0))
        repainted = screen_of(quiet(terminal))
    assert "finished" in shown[0]
    assert shown == repainted


async def test_every_second_tick_draws_the_panes_and_each_the_status_line(
    training_run: Callable[..., RunDir], control: FakeControl
) -> None:
    run = training_run()
    app = screen(run, control)
    async with app.run_test(size=(COLUMNS, ROWS)) as pilot:
        await until(pilot, lambda: app.view.behind is None and app.board.panes["step"].shown_rows != [])
        app.session.read()
        app.draw()
        # Without an await no timer comes in between.
        status, step = app.board.status, app.board.panes["step"]
        before = status.shown_rows, step.shown_rows
        app.session.feed.state.take(recording.window(now_script(), time.time(), 2001, 400))
        app.draw(panes=False)
        assert status.shown_rows != before[0] and step.shown_rows == before[1]
        app.draw()
        assert step.shown_rows != before[1]
        due = [app._panes_due() for _ in range(6)]
        assert due[-4:] in ([True, False, True, False], [False, True, False, True])
