"""The rerun on the screen: what is asked first, what is shown of it at every screen, and what follows."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.events import Key

from tests.ui import recording
from tests.ui.conftest import FakeControl, now_script, screen, shows, text_of, until
from tests.ui.recording import Script
from tfgpu_tui.core import events as ev
from tfgpu_tui.runs.rundir import JournalWriter, RunDir, read_meta
from tfgpu_tui.ui.control import RealControl

Make = Callable[..., RunDir]
GROWTH = {"memory_growth": "on"}


def append(run: RunDir, *events: ev.Event) -> None:
    writer = JournalWriter(run.journal)
    for event in events:
        writer.append(event)
    writer.close()


def rerun(state: str, **more: str) -> ev.Rerun:
    return ev.Rerun(t=time.time(), src="child", state=state, knobs=GROWTH, **more)  # type: ignore[arg-type]


def ended() -> ev.RunEnded:
    return ev.RunEnded(t=time.time(), src="child", exit_code=0, wall_s=34.0)


def made(folder: Path) -> RunDir:
    """A new run's folder, as a launcher makes it."""
    run = recording.write(folder, recording.opening(now_script(0, run_id=folder.name, parent="train-1")))
    run.meta_path.write_text("{}")
    return run


async def test_a_rerun_is_asked_for_shown_followed_and_compared(
    training_run: Make, control: FakeControl, tmp_path: Path
) -> None:
    first = training_run()
    faster = Script(run_id="train-2", step_ms=14.0, wait=0.05, start=time.time() - 40, parent="train-1",
                    knobs=(("memory_growth", "on"),))  # fmt: skip
    app = screen(first, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("g", "r")
        await shows(pilot, "rerun asked for")
        assert control.reruns == [("train-1", GROWTH)] and not control.stopped
        append(first, rerun("asked"), ev.Stopping(t=time.time(), src="child", stage="interrupt", grace_s=5.0))
        await until(pilot, lambda: app.session.rerun_pending)
        await pilot.press("r")
        await shows(pilot, "a rerun is already on its way")
        app.view.notice = None
        await shows(pilot, "stopping: sent SIGINT, SIGTERM in", "then the rerun")
        new = recording.write(tmp_path / "train-2", [*recording.opening(faster), *recording.first_steps(faster)])
        new.meta_path.write_text("{}")
        append(first, rerun("begun", id="train-2"))
        await until(pilot, lambda: app.view.state.rerun is not None and app.view.state.rerun.id == "train-2")
        assert app.session.feed.run == first, "the old run is not over yet"
        append(first, ended())
        await shows(pilot, "rerun started", "growth on")
        for batch in recording.training(faster, 20):
            append(new, *batch)
        text = await shows(pilot, "compare with the run before", "31.9 ms ±", "14.0 ms ±", "faster")
        assert "memory_growth" in text and "better" in text
        await pilot.press("c")
        await until(pilot, lambda: "compare with" not in text_of(app))
        await pilot.press("c")
        await shows(pilot, "compare with the run before")
    assert len(control.reruns) == 1 and not control.started


async def test_every_screen_that_saw_the_run_going_follows(
    training_run: Make, control: FakeControl, tmp_path: Path
) -> None:
    """One that came later, and pressed nothing; what it asks about then is the rerun, too."""
    first = training_run()
    append(first, rerun("asked"))
    app = screen(first, control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "then the rerun")
        await pilot.press("q")
        await shows(pilot, "the rerun starts by itself", "take the rerun back", "without a rerun")
        await pilot.press("escape")
        made(tmp_path / "train-2")
        append(first, rerun("begun", id="train-2"), ended())
        await until(pilot, lambda: app.session.feed.run.id == "train-2")
        assert app.view.next_knobs == GROWTH and app.view.before is not None


async def test_a_run_that_is_over_stays_on_the_screen_and_its_rerun_is_found(
    training_run: Make, control: FakeControl, tmp_path: Path
) -> None:
    first = training_run()
    append(first, rerun("asked"), rerun("begun", id="train-2"), ended())
    second = made(tmp_path / "train-2")
    control.next_run, control.started = lambda knobs: second, [{"somebody": "else's"}]
    app = screen(first, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "finished", "its rerun: train-2")
        await pilot.pause(0.5)
        assert app.session.feed.run == first
        await pilot.press("r")
        await shows(pilot, "this is train-2, a rerun of that run, which was started already")
        assert app.session.feed.run == second


async def test_a_stop_takes_the_rerun_back(training_run: Make, control: FakeControl) -> None:
    first = training_run()
    append(first, rerun("asked"))
    app = screen(first, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "then the rerun")
        await pilot.press("q", "s")
        await shows(pilot, "no rerun: the training only stops")
        assert control.stopped == [("train-1", "batch")]
        append(first, ev.Stopping(t=time.time(), src="child", stage="batch", reason="rerun"), rerun("taken_back"))
        app.view.notice = None
        await shows(pilot, "stopping after this batch", "without a rerun")
        assert app.view.state.stopped_early == "user"


@pytest.mark.parametrize(
    ("last", "running", "words"),
    [
        ([rerun("failed", error="the folder /data/x is gone"), ended()], True, "did not start: the folder /data/x is"),
        ([], False, "the rerun did not start"),
    ],
)
async def test_a_rerun_that_did_not_start_is_said_with_the_reason(
    training_run: Make, control: FakeControl, last: list[ev.Event], running: bool, words: str
) -> None:
    first = training_run()
    append(first, rerun("asked"), *last)
    control.running = running
    app = screen(first, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, words)
    assert not control.started


async def test_a_command_that_can_not_be_shown_whole_is_not_run(training_run: Make, control: FakeControl) -> None:
    first = training_run()
    append(first, ended())
    control.command = "cd / && /tmp/python " + "x" * 500 + "; rm everything"
    app = screen(first, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.view.behind is None and app.view.state.ended is not None)
        await pilot.press("r")
        await shows(pilot, "its command is too long to be shown whole")
        assert not control.started and len(app.screen_stack) == 1


async def test_a_question_is_answered_once(training_run: Make, control: FakeControl) -> None:
    """However quickly its key is pressed again."""
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.view.behind is None)
        await pilot.press("q")
        await shows(pilot, "leave?")
        dialog = app.screen
        for _ in range(3):  # in its queue before the first is looked at
            dialog.post_message(Key("s", "s"))
        await until(pilot, lambda: "leave?" not in text_of(app))
        assert [stage for _, stage in control.stopped] == ["batch"] and app.crash is None and len(app.screen_stack) == 1


async def test_a_command_of_somebody_else_is_shown_before_it_is_run(training_run: Make, control: FakeControl) -> None:
    first = training_run()
    append(first, ended())
    control.next_run = lambda knobs: training_run(seconds=5, folder="train-2")
    control.command = "cd /home/u && /tmp/python \x1b[2K'rm everything'"
    app = screen(first, control)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.view.behind is None and app.view.state.ended is not None)
        await pilot.press("r")
        await shows(pilot, "run this command?", "with your rights:", "cd /home/u && /tmp/python ·[2K'rm everything'")
        await shows(pilot, "run nothing")
        await pilot.press("enter", "r")
        assert "run this command?" in text_of(app), "Enter and r are no yes"
        await pilot.press("escape")
        await until(pilot, lambda: "run this command?" not in text_of(app))
        assert not control.started
        await pilot.press("g", "r")
        await shows(pilot, "settings: memory_growth=on")
        await pilot.press("x")
        await until(pilot, lambda: len(control.started) == 1)


def test_whose_run_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfgpu_tui.runs import rundir

    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path))
    ours = rundir.create(["my train.py"], cwd="/a b", python="/usr/bin/python3")
    assert RealControl().foreign_command(ours) is None
    elsewhere = tmp_path / "runs" / "inside" / "x"
    elsewhere.mkdir(parents=True)
    foreign = RunDir(elsewhere)
    rundir.write_meta(foreign, read_meta(ours))
    command = "cd '/a b' && /usr/bin/python3 'my train.py'"
    assert RealControl().foreign_command(foreign) == command
    monkeypatch.setattr("os.getuid", lambda: 12345)  # somebody else looks into a state folder that is shared
    assert RealControl().foreign_command(ours) == command


async def test_what_the_script_hides_is_hidden_on_the_screen(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("i", *"Zoe")
        await shows(pilot, "to the script: Zoe")
        control.unseen = True  # the script asks for a password now
        await pilot.press("enter", *"geheim")
        text = await shows(pilot, "to the script: ••••••", "the script hides what is typed here")
        assert "geheim" not in text and "g" not in text.splitlines()[-1].split("•")[0].replace("to the script", "")
        control.unseen = False
        await pilot.press("enter", *"abc")
        await shows(pilot, "to the script: abc")
    assert control.typed == ["Zoe\r", "geheim\r"]
