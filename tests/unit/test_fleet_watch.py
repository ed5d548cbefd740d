"""Who reads the fleet: a reader who was late hears of nobody, and folders that are not this user's are left alone."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.fleet import Replayed
from tests.ui.test_fleet_screen import Made
from tests.unit.test_fleet import four
from tfgpu_tui.core.fleet import Row
from tfgpu_tui.fleet import local, watch
from tfgpu_tui.fleet.watch import HELD_UP_S, WATCHED_S, Fleet
from tfgpu_tui.report.fleet import nothing_words


class Clocks:
    """The two of a machine."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.monotonic, self.wall = 1000.0, 1e9
        monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=lambda: self.monotonic, time=lambda: self.wall))

    def go_on(self, seconds: float, asleep: float = 0.0) -> None:
        self.monotonic, self.wall = self.monotonic + seconds, self.wall + seconds + asleep


def test_a_silence_is_told_by_a_reader_who_watched_it_on_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = Clocks(monkeypatch)
    healthy = four(0.2, 0.2, 0.2, 0.2)
    made = Made([*healthy[:3], replace(healthy[3], quiet_s=45.0)])
    fleet = Fleet([made], clock=lambda: clocks.wall)
    for _ in range(int(WATCHED_S)):
        picture = fleet.read(0.2)
        assert picture.unsure and not picture.told
        clocks.go_on(1.0)
    picture = fleet.read(0.2)
    assert not picture.unsure and [one.finding.id for one in picture.told] == ["run.rank_silent"]


@pytest.mark.parametrize(("late_s", "asleep_s"), [(HELD_UP_S + 1.0, 0.0), (1.0, 3600.0)])
def test_a_reader_who_comes_back_late_knows_of_no_silence(
    late_s: float, asleep_s: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clocks = Clocks(monkeypatch)
    healthy = four(0.2, 0.2, 0.2, 0.2)
    made = Made(healthy)
    fleet = Fleet([made], clock=lambda: clocks.wall)
    for _ in range(2 * int(WATCHED_S)):
        assert not fleet.read(0.2).unsure
        clocks.go_on(1.0)
    clocks.go_on(late_s, asleep=asleep_s)  # stopped, or on a machine that is too busy, or that sleeps
    made.given = [*healthy[:3], replace(healthy[3], quiet_s=45.0)]
    picture = fleet.read(0.2)
    assert picture.unsure and not picture.told
    made.given = healthy
    for _ in range(2 * int(WATCHED_S)):
        clocks.go_on(1.0)
        picture = fleet.read(0.2)
        assert not picture.unsure and not picture.told


def test_a_folder_that_is_not_this_users_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path))
    tmp_path.chmod(0o700)
    (tmp_path / "runs").mkdir(mode=0o700)
    runs = [Replayed(tmp_path, number, time.time()).run for number in range(2)]
    if os.geteuid() == 0:
        for path in (runs[1].path, *runs[1].path.iterdir()):
            os.chown(path, 65534, 65534)
    else:
        runs[1].path.chmod(0)
    folder = local.Folder()
    try:
        while folder.read(time.monotonic(), time.monotonic() + 1.0):
            pass
        assert [row.run for row in folder.rows(time.monotonic())] == [runs[0].id]
        if os.geteuid() != 0:
            return
        os.chown(runs[0].path, 65534, 65534)  # while it is watched
        assert folder.read(time.monotonic(), 0.0) is False
    finally:
        folder.close()
        runs[1].path.chmod(0o700)


def test_a_job_without_a_run_says_what_else_runs() -> None:
    rows = four(0.2, 0.2, 0.2, 0.2)

    def said(given: list[Row], job: str | None) -> str:
        picture = Fleet([Made(given)], job).read(0.2)
        assert picture.rows == (), "it is no empty screen by a row"
        return nothing_words(picture.asked, picture.jobless, picture.others)

    young = replace(rows[0], job=None, rank=None)
    assert said([young], "81") == "no run of job 81 yet: 1 run told no job so far"
    assert said([young, *rows[1:]], "9") == "no run of job 9 yet: 1 run told no job so far, 3 are of other jobs"
    assert said([rows[0]], "9") == "no run of job 9: 1 is of other jobs"
    assert said([], "9") == "nothing runs, of job 9 or of any" and said([], None) == "nothing runs"
    assert Fleet([Made([young, *rows[1:]])], "81").read(0.2).jobless == 1, "beside rows of the job, too"
