"""A screen on made-up runs: what it shows as rows of text, and a control that records what was asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from textual.pilot import Pilot

from tests.ui import recording
from tests.ui.recording import Script
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.listing import RunSummary, summary
from tfgpu_tui.runs.rundir import RunDir, RunNotFound
from tfgpu_tui.supervisor.again import Again
from tfgpu_tui.supervisor.launch import ControlError
from tfgpu_tui.trials.records import Group
from tfgpu_tui.ui import session
from tfgpu_tui.ui.monitor import MonitorApp
from tfgpu_tui.ui.snapshot import screen_rows

Screen = Pilot[int]


@dataclass
class FakeControl:
    """Stands in for the supervisor."""

    next_run: Callable[[dict[str, str]], RunDir] | None = None
    runs_by_id: dict[str, RunDir] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    typed: list[str] = field(default_factory=list)
    profiled: int = 0
    stopped: list[tuple[str, str]] = field(default_factory=list)
    reruns: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    started: list[dict[str, str]] = field(default_factory=list)
    command: str | None = None
    unseen: bool = False
    sizes: list[tuple[int, int]] = field(default_factory=list)
    running: bool = True
    error: str | None = None
    tried: list[tuple[str, float]] = field(default_factory=list)
    experiment: Group | None = None
    """What begins where an experiment is asked for, or asked to go on."""
    stopped_trying: int = 0

    def stop(self, run: RunDir, stage: str) -> None:
        if self.error:
            raise ControlError(self.error)
        self.stopped.append((run.id, stage))

    def rerun(self, run: RunDir, knobs: dict[str, str]) -> None:
        if self.error:
            raise ControlError(self.error)
        self.reruns.append((run.id, knobs))

    def start_again(self, run: RunDir, knobs: dict[str, str], confirmed: str | None = None) -> Again:
        assert confirmed == self.command
        self.started.append(knobs)
        assert self.next_run is not None
        return Again(self.next_run(knobs), new=len(self.started) == 1)

    def foreign_command(self, run: RunDir) -> str | None:
        return self.command

    def types_unseen(self, run: RunDir) -> bool:
        return self.unseen

    def resize(self, run: RunDir, columns: int, rows: int) -> None:
        self.sizes.append((columns, rows))

    def is_running(self, run: RunDir) -> bool:
        return self.running

    def find(self, run_id: str) -> RunDir:
        if run_id not in self.runs_by_id:
            raise RunNotFound(f"there is no run {run_id!r}")
        return self.runs_by_id[run_id]

    def runs(self) -> list[RunSummary]:
        return [summary(run) for run in self.runs_by_id.values()]

    def delete(self, run: RunDir) -> None:
        self.deleted.append(run.id)
        del self.runs_by_id[run.id]

    def profile(self, run: RunDir) -> None:
        if self.error:
            raise ControlError(self.error)
        self.profiled += 1

    def send_input(self, run: RunDir, text: str) -> None:
        if self.error:
            raise ControlError(self.error)
        self.typed.append(text)

    def try_settings(self, run: RunDir, budget_s: float) -> tuple[str, Begun]:
        if self.error:
            raise ControlError(self.error)
        self.tried.append((run.id, budget_s))
        assert self.experiment is not None
        return self.experiment.id, Begun()

    def go_on_trying(self, group: Group) -> Begun:
        self.experiment = group
        return Begun()

    def stop_trying(self, group: Group) -> None:
        if self.error:
            raise ControlError(self.error)
        self.stopped_trying += 1


class Begun:
    """A conductor's process that goes on."""

    def poll(self) -> int | None:
        return None


@pytest.fixture(autouse=True)
def notices_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is said for some seconds must still stand when a busy machine comes to look."""
    monkeypatch.setattr(session, "NOTICE_S", 60.0)


@pytest.fixture
def control() -> FakeControl:
    return FakeControl()


def now_script(seconds: float = 30.0, **more: object) -> Script:
    """A script whose run is going on now, for `seconds` of training so far."""
    return Script(start=time.time() - seconds - 4, **more)  # type: ignore[arg-type]


@pytest.fixture
def training_run(tmp_path: Path) -> Callable[..., RunDir]:
    """Writes a run that trains; keywords of `Script`."""

    def make(seconds: float = 30.0, folder: str = "train-1", **more: object) -> RunDir:
        script = now_script(seconds, run_id=folder, **more)
        return recording.write(tmp_path / folder, recording.everything(script, seconds), recording.output_text())

    return make


def screen(run: RunDir, control: FakeControl, **more: object) -> MonitorApp:
    """The app on a run, reading every 0.1 s so that tests wait less."""
    settings = Settings(interval_s=0.1, ascii=bool(more.pop("ascii", False)))
    theme = str(more.pop("theme", "textual-dark"))
    return MonitorApp(run, settings, control=control, theme=theme, **more)  # type: ignore[arg-type]


def rows_of(app: MonitorApp) -> list[str]:
    """The whole screen as text, one string a row."""
    return screen_rows(app)


def text_of(app: MonitorApp) -> str:
    return "\n".join(rows_of(app))


async def until(pilot: Screen, condition: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits until the screen has come to `condition`; fails with what it shows instead."""
    deadline = time.monotonic() + seconds
    while not condition():
        app = pilot.app
        assert isinstance(app, MonitorApp)
        assert time.monotonic() < deadline, "not reached; the screen shows:\n" + text_of(app)
        await pilot.pause(0.02)


async def shows(pilot: Screen, *words: str) -> str:
    """Waits until all these words are on the screen and the journal is read as far as it goes (before, keys that act
    are refused), and returns its text."""
    app = pilot.app
    assert isinstance(app, MonitorApp)
    await until(pilot, lambda: not app.session.behind and all(word in text_of(app) for word in words))
    return text_of(app)
