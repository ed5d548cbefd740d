"""An experiment on the screen: its table, the trial that runs, what is asked, and how it is left."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ui import recording
from tests.ui.conftest import Begun, FakeControl, now_script, rows_of, screen, shows, text_of, until
from tfgpu_tui.core import events as ev
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.rundir import JournalWriter, RunDir
from tfgpu_tui.trials import groups
from tfgpu_tui.trials.records import Candidate, Current, Group, Pace, Plan, Record
from tfgpu_tui.ui.experiment import Experiment

Make = Callable[..., RunDir]
PARALLEL = {"input": "parallel"}


class Conductor(Begun):
    """Its process, which ends when the test says so."""

    over = False

    def poll(self) -> int | None:
        return 0 if self.over else None


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunDir]:
    """A trial's run that goes on, in a state folder of the test's own."""
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path / "state"))
    rundir.runs_dir().mkdir(parents=True, mode=0o700)

    def make(name: str = "train-1") -> RunDir:
        script = now_script(30.0, run_id=name)
        run = recording.write(rundir.runs_dir() / name, recording.everything(script, 30.0), recording.output_text())
        run.meta_path.write_text("{}")
        return run

    return make


def record(setting: dict[str, str], ms: float, run: str = "train-1") -> Record:
    pace = Pace(ms, ms * 0.01)
    return Record(setting, run, time.time(), 12.0, 400, later=pace, whole=pace, wait=0.6, memory_bytes=2**29)


def group(**more: object) -> Group:
    plan = Plan([Candidate(PARALLEL, "load_image handles one element at a time"), Candidate({"threads": "2"}, "why")])
    now = time.time()
    values: dict[str, object] = {
        "plan": plan, "may_write": True, "budget_s": 300.0, "until": now + 240.0, "begun": now - 60.0,
    }  # fmt: skip
    return Group("try-train-1", ["train.py"], "/home/u", "python3", **{**values, **more})  # type: ignore[arg-type]


def running(setting: dict[str, str], run: str = "train-1") -> Current:
    return Current(setting, run, time.time())


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_table_fills_and_the_screen_follows_the_trial(
    made: Make, control: FakeControl, size: tuple[int, int]
) -> None:
    first, process = made(), Conductor()
    groups.save(group(records=[record({}, 30.0)], now=running(PARALLEL)))
    app = screen(first, control, experiment=Experiment("try-train-1", process))
    async with app.run_test(size=size) as pilot:
        text = await shows(
            pilot, "try train.py", "1 trial done", "of 05:00", "30.0 ms ± 4 %", "trial 2: input=parallel"
        )
        assert "to come: why" in text and "threads=2" in text
        (row,) = [row for row in rows_of(app) if row.lstrip(" ▸").startswith("input=parallel")]
        assert "runs now" in row
        made("train-2")
        groups.save(group(records=[record({}, 30.0), record(PARALLEL, 15.0)], now=running({}, "train-2")))
        await until(pilot, lambda: app.session.feed.run.id == "train-2")
        await shows(pilot, "2.0x ±", "faster so far", "2 trials done")
        assert "input_wait" not in text and not control.started


async def test_it_is_stopped_and_left_with_what_is_known(made: Make, control: FakeControl) -> None:
    process = Conductor()
    groups.save(group(records=[record({}, 30.0)], now=running(PARALLEL)))
    app = screen(made(), control, experiment=Experiment("try-train-1", process))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("r", "enter")
        await shows(pilot, "an experiment chooses the settings")
        assert not control.reruns
        await pilot.press("q")
        await shows(pilot, "stop the experiment", "detach: leave the screen, the experiment goes on")
        await pilot.press("s")
        await until(pilot, lambda: control.stopped_trying == 1)
        assert app.is_running and not control.stopped
        groups.save(group(records=[record({}, 30.0)], ended="stopped"))
        process.over = True
        deadline = time.monotonic() + 60
        while app._exit is False and time.monotonic() < deadline:
            await pilot.pause(0.02)
        assert app._exit


async def test_its_end_says_what_to_keep(made: Make, control: FakeControl) -> None:
    faster = [record({}, 30.0), record(PARALLEL, 15.0), record({}, 30.0), record(PARALLEL, 15.0), record({}, 30.0)]
    groups.save(group(records=faster, ended="budget"))
    process = Conductor()
    process.over = True
    app = screen(made(), control, experiment=Experiment("try-train-1", process))
    async with app.run_test(size=(120, 40)) as pilot:
        text = await shows(pilot, "Keep:  tfgpu-tui --set input=parallel train.py", "the time is over", "not reached")
        assert "faster each time" in text and "tfgpu-tui try --resume try-train-1" in text
        await pilot.press("z")
        zoomed = await shows(pilot, "faster at each of 2 times: 2.0x and 2.0x")
        assert "Input-bound" not in zoomed, "the table had the focus"
        await pilot.press("q")
        await pilot.pause()
    assert not app.screen_stack or app._exit


async def test_files_that_the_script_writes_are_asked_about(made: Make, control: FakeControl) -> None:
    process, run = Conductor(), made()
    writer = JournalWriter(run.journal)
    writer.append(ev.RunEnded(t=time.time(), src="child", exit_code=0, wall_s=34.0))
    writer.close()
    wrote = [f"/home/u/weights-{i}.bin" for i in range(9)]
    asks = group(records=[record({}, 30.0)], ended="refused", may_write=False, wrote=wrote, left_s=280.0)
    groups.save(replace(asks, records=[], ended=None, now=running({})))
    app = screen(run, control, experiment=Experiment("try-train-1", process))
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "0 trials done")
        groups.save(asks)
        process.over = True
        await shows(pilot, "go on?", "/home/u/weights-0.bin", "and 3 more", "TFGPU_TUI_TRIAL=1")
        await pilot.press("y")
        await until(pilot, lambda: control.experiment is not None)
        assert control.experiment is not None
        assert control.experiment.may_write and control.experiment.budget_s == 280.0
        assert app.session.trying, "another process goes on with it"


async def test_the_key_begins_an_experiment_with_the_script_of_this_run(made: Make, control: FakeControl) -> None:
    control.experiment = group(records=[], plan=None, after="train-1")
    app = screen(made(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("a")
        await shows(pilot, "try what could help?", "This run stops after its batch", "05:00")
        await pilot.press("escape")
        await until(pilot, lambda: not app.busy)
        assert not control.tried
        await pilot.press("a")
        await shows(pilot, "try what could help?")
        groups.save(control.experiment)
        await pilot.press("enter")
        await shows(pilot, "this run stops, then the experiment begins", "0 trials done")
        assert control.tried == [("train-1", 300.0)]
        made("train-2")
        groups.save(replace(control.experiment, after=None, now=running({}, "train-2")))
        await until(pilot, lambda: app.session.feed.run.id == "train-2")
        assert not control.reruns and not control.stopped, "its conductor stops the run"


@pytest.mark.parametrize(("size", "keys"), [((120, 40), []), ((80, 24), ["f"])])
async def test_the_footer_names_the_key_beside_that_of_one_setting(
    made: Make, control: FakeControl, size: tuple[int, int], keys: list[str]
) -> None:
    app = screen(made(), control)
    async with app.run_test(size=size) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press(*keys)
        await shows(pilot, "Enter try ", "a try all ")


async def test_somebody_elses_run_is_not_tried(training_run: Make, control: FakeControl) -> None:
    control.command = "cd / && python3 evil.py"
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("a")
        await shows(pilot, "does not come from your own list of runs")
        assert not control.tried and "try what could help?" not in text_of(app)


def test_a_conductor_that_is_gone_is_seen(made: Make) -> None:
    alive = group(conductor=groups.me(), now=running({}))
    groups.save(alive)
    told = Experiment("try-train-1").read()
    assert told is not None and told.alive and groups.goes_on(alive)
    gone = replace(alive, conductor=replace(groups.me(), started=1))
    groups.save(gone)
    dead = Conductor()
    dead.over = True
    groups.save(alive)
    told = Experiment("try-train-1", dead).read()
    assert told is not None and told.alive, "another process goes on with it"
    groups.save(gone)
    told = Experiment("try-train-1").read()
    assert told is not None and told.over and not groups.goes_on(gone) and not groups.stop(gone)
    assert os.getpid() == groups.me().pid
