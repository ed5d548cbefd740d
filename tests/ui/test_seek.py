"""A long recording is not read from its beginning for every step in it; what is shown is the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.journals import T0
from tests.ui.conftest import FakeControl
from tests.unit.test_history import long_journal, write_rolled
from tfgpu_tui.core import checkpoint
from tfgpu_tui.core.events import Event, Log, Standing
from tfgpu_tui.core.state import fold
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.ui import feed
from tfgpu_tui.ui.draw import UNICODE
from tfgpu_tui.ui.feed import ReplayClock
from tfgpu_tui.ui.session import Session

EVERY = 100
"""Events of a part."""


def rolled(folder: Path) -> tuple[RunDir, list[Event]]:
    """A run of 75 s in parts, which printed a line of 10 bytes a second."""
    lines: list[Event] = [Log(t=T0 + second, src="child", size_bytes=10 * (second + 1)) for second in range(75)]
    told = Standing(t=T0 + 9, src="child", since={"input.bound": T0 + 8})
    written = sorted([*long_journal(300), *lines, told], key=lambda event: event.t)
    run = RunDir(folder)
    write_rolled(run.journal, written, every=EVERY)
    run.output_log.write_bytes(b"".join(b"line %04d\n" % second for second in range(75)))
    return run, written


def caught_up(session: Session) -> Session:
    while session.behind:
        session.read()
    return session


@pytest.mark.parametrize("jumps", [[70.0], [40.0, 10.0], [5.0, 60.0, 8.0]], ids=str)
def test_a_jump_reads_from_the_checkpoint_before_it(
    tmp_path: Path, jumps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "OUTPUT_TAIL_BYTES", 50)
    monkeypatch.setattr(feed, "OUTPUT_PERIOD_S", 0.0)
    run, written = rolled(tmp_path)
    session = Session(run, FakeControl(), UNICODE, ReplayClock(held=True))
    session.read()
    for seconds in jumps:
        session.go_to(T0 + seconds)
        caught_up(session)
        assert session.feed.events <= EVERY + feed.BATCH_EVENTS, "a part, and what was read ahead"
        state = session.view.state
        assert checkpoint.dump(state) == checkpoint.dump(fold([event for event in written if event.t <= T0 + seconds]))
        assert session.view.now == T0 + seconds
        assert session.view.lines.text().split()[-1] == f"{int(seconds):04d}", "the output of that time, no later one"
        assert {f.id: since for f, since in session.view.findings}["input.bound"] <= T0 + 8
    session.close()


def test_the_next_second_is_read_on(tmp_path: Path) -> None:
    run, _ = rolled(tmp_path)
    session = Session(run, FakeControl(), UNICODE, ReplayClock(held=True))
    session.read()
    session.go_to(T0 + 40)
    caught_up(session)
    before = session.feed
    session.go_to(T0 + 41)
    assert session.feed is before, "no file is opened anew for it"
    session.close()


def test_a_viewer_who_comes_late_is_told_since_when(tmp_path: Path) -> None:
    run, written = rolled(tmp_path)
    session = caught_up_live(run)
    assert session.feed.events < EVERY < len(written)
    since = {finding.id: t for finding, t in session.view.findings}
    assert since["input.bound"] == T0 + 8
    session.close()


def caught_up_live(run: RunDir) -> Session:
    session = Session(run, FakeControl(), UNICODE)
    session.read()
    return caught_up(session)
