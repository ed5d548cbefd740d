"""The screen as its reader uses it: sizes, every key, dialogs, rerun, compare."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.geometry import Region

from tests.ui import recording
from tests.ui.conftest import FakeControl, now_script, rows_of, screen, shows, text_of, until
from tfgpu_tui.core import events as ev
from tfgpu_tui.runs.rundir import JournalWriter, RunDir
from tfgpu_tui.ui.feed import ReplayClock
from tfgpu_tui.ui.monitor import MonitorApp, exit_status
from tfgpu_tui.ui.pane import Pane, RowsWidget

SIZES = [(80, 24), (100, 30), (120, 40), (160, 45), (200, 50)]
Make = Callable[..., RunDir]


def append(run: RunDir, *events: ev.Event) -> None:
    writer = JournalWriter(run.journal)
    for event in events:
        writer.append(event)
    writer.close()


def ended(code: int = 0) -> ev.RunEnded:
    return ev.RunEnded(t=time.time(), src="child", exit_code=code, wall_s=30.0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("gpu", [True, False])
async def test_every_size_is_filled_and_nothing_overlaps(
    training_run: Make, control: FakeControl, size: tuple[int, int], gpu: bool
) -> None:
    app = screen(training_run(gpu=gpu), control)
    async with app.run_test(size=size) as pilot:
        text = await shows(pilot, "train.py", "Input-bound: 61 %", "step 31.8 ms", "epoch 5/10", "q quit", "Epoch 2/10")
        shown = [w for w in app.screen.query(RowsWidget) if w.display]
        regions: list[Region] = [w.region for w in shown]
        for a, b in itertools.combinations(regions, 2):
            assert not a.overlaps(b), (a, b)
        assert all(app.screen.region.contains_region(r) for r in regions)
        assert "importing" not in text
        # An empty pane would be a title and blanks: each says something in its first row.
        for pane in app.screen.query(Pane):
            if pane.display:
                below = "".join(t for row in pane.shown_rows[1:] for t, _ in row)
                assert below.strip(), pane.pane_name
        if size >= (120, 40):
            assert "encoder" in text and "Map load_image" in text and "busiest core" in text and "loss" in text
        assert ("GPU 0 busy" in text) == gpu


async def test_before_the_first_step_the_panes_say_what_happens(tmp_path: Path, control: FakeControl) -> None:
    script = now_script(0, gpu=False)
    run = recording.write(tmp_path / "train-1", recording.opening(script))
    app = screen(run, control)
    async with app.run_test(size=(120, 40)) as pilot:
        assert (await shows(pilot, "importing TensorFlow")).count("importing TensorFlow") > 5
        append(run, ev.Phase(t=time.time(), src="agent", phase="tracing"))
        await shows(pilot, "tracing the training step")
        append(run, recording.window(script, time.time(), 1, 3), recording.window(script, time.time(), 4, 7))
        append(run, ev.Phase(t=time.time(), src="agent", phase="training"))
        await shows(pilot, "warming up: 7 of 20 steps")


async def test_without_a_journal_yet_the_screen_says_so(tmp_path: Path, control: FakeControl) -> None:
    app = screen(RunDir(tmp_path / "none"), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "tfgpu-tui", "starting")


@pytest.mark.parametrize("size", [(59, 30), (100, 14), (30, 5), (1, 1)])
async def test_a_tiny_terminal_gets_one_honest_line(
    training_run: Make, control: FakeControl, size: tuple[int, int]
) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=size) as pilot:
        await until(pilot, lambda: app.view.behind is None and app.view.state.run is not None)
        await pilot.pause()
        if size[0] >= 30:
            assert rows_of(app)[0].startswith("train.py: training")
        assert all(not row.strip() for row in rows_of(app)[3:])
        await pilot.resize_terminal(80, 24)
        await shows(pilot, "Input-bound")


async def test_zoom_and_number_keys(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        assert "StringLookup" not in text_of(app)
        await pilot.press("7")
        assert "no GPU kernel" in await shows(pilot, "placement", "text_lookup", "z back")
        await pilot.press("7")
        await until(pilot, lambda: app.board.zoomed is None)
        await pilot.press("2")
        assert app.board.zoomed is None and app.focused is app.query_one("#gpu")
        await pilot.press("2")
        await shows(pilot, "41 W", "memory 14.1 GiB of 14.8 GiB")
        await pilot.press("escape", "tab", "z")
        assert app.board.zoomed is not None
        await pilot.press("z")
        assert app.board.zoomed is None
        await shows(pilot, "Input-bound", "input pipeline")


@pytest.mark.parametrize("key", [str(n) for n in range(1, 10)])
async def test_every_pane_is_reachable_at_80x24(training_run: Make, control: FakeControl, key: str) -> None:
    from tfgpu_tui.ui.keys import PANE_KEYS

    name = next(pane for number, pane, _ in PANE_KEYS if number == key)
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        pane = app.query_one(f"#{name}", Pane)
        await pilot.press(key)
        if app.board.zoomed != name:
            await pilot.press(key)
        assert app.board.zoomed == name
        await until(pilot, lambda: pane.display and len(pane.shown_rows) == 22)
        assert any(text.strip() for row in pane.shown_rows[1:] for text, _ in row)


async def test_help_explains_every_key_and_word(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("question_mark")
        seen = await shows(pilot, "help", "this page")
        for _ in range(6):
            await pilot.press("pagedown")
            await pilot.pause()
            seen += text_of(app)
        for word in ("input wait", "GPU busy", "memory growth", "reserved", "detach", "warming up", "ms a batch"):
            assert word in seen
        await pilot.press("escape")
        await shows(pilot, "Input-bound")


async def test_findings_list_and_cursor(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("f")
        await shows(pilot, "findings", "input.bound, since 00:", "reruns with ", "copies the next step")
        await pilot.press("down")
        assert app.query_one("#findings", Pane).cursor == 1
        await pilot.press("f")
        await shows(pilot, "input pipeline")


async def test_freeze_holds_the_screen_and_the_run_goes_on(training_run: Make, control: FakeControl) -> None:
    run = training_run()
    app = screen(run, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("space")
        frozen = await shows(pilot, "FROZEN, the run goes on")
        append(run, ev.Metrics(t=time.time(), src="agent", step=9999, values={"loss": 123.4}))
        await pilot.pause(0.3)
        assert [r for r in rows_of(app)[1:] if r] == frozen.splitlines()[1:]
        await pilot.press("space")
        assert "FROZEN" not in await shows(pilot, "loss 123.4")


async def test_growth_key_steps_through_on_off_script(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "growth off")
        await pilot.press("g")
        await shows(pilot, "next run on: r")
        await pilot.press("g")
        await shows(pilot, "next run off: r")
        await pilot.press("g")
        await until(pilot, lambda: "next run" not in text_of(app))


async def test_enter_on_a_finding_reruns_with_its_knob(
    training_run: Make, control: FakeControl, tmp_path: Path
) -> None:
    first = training_run(wait=0.01)
    append(first, ended())
    control.next_run = lambda knobs: training_run(seconds=5, folder="train-2")
    app = screen(first, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "GPU 0 looks full", "Enter reruns with memory_growth=on")
        await pilot.press("enter")
        await until(pilot, lambda: control.started == [{"memory_growth": "on"}])
        assert control.stopped == []


async def test_a_long_training_is_not_stopped_without_being_asked(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(seconds=200), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        await until(pilot, lambda: app.view.behind is None)
        await pilot.press("r")
        await shows(pilot, "stop this run and start again?", "3 minutes")
        await pilot.press("escape")
        await until(pilot, lambda: "start again?" not in text_of(app))
        assert control.stopped == []
        await pilot.press("r")
        await shows(pilot, "start again?")
        await pilot.press("enter")
        await until(pilot, lambda: control.reruns == [("train-1", {})])


async def test_a_rerun_that_cannot_start_is_said(training_run: Make, control: FakeControl) -> None:
    control.error = "train-1 does not answer"
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("r")
        await shows(pilot, "train-1 does not answer")


@pytest.mark.parametrize("key", ["q", "ctrl+c", "ctrl+q"])
async def test_quit_asks_while_the_training_runs(training_run: Make, control: FakeControl, key: str) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press(key)
        await shows(pilot, "leave?", "detach", "stop the training after this batch", "kill the training now")
        await pilot.press("escape")
        await until(pilot, lambda: "leave?" not in text_of(app))
        await pilot.press(key)
        await shows(pilot, "leave?")
        await pilot.press("s")
        await until(pilot, lambda: control.stopped == [("train-1", "batch")])
        await pilot.press(key)
        await shows(pilot, "leave?")
        await pilot.press("k")
        await until(pilot, lambda: control.stopped[-1] == ("train-1", "kill"))
        await pilot.press(key)
        await shows(pilot, "leave?")
        await pilot.press("d")
    assert app.return_value == 0


async def test_detach_leaves_at_once(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("d")
    assert app.return_value == 0 and control.stopped == []


async def test_an_ended_run_stays_until_q_and_gives_its_status(training_run: Make, control: FakeControl) -> None:
    run = training_run()
    append(run, ev.ScriptError(t=time.time(), exception="ValueError", message="bad [shape]", file="train.py"))
    append(run, ended(3))
    app = screen(run, control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "failed, exit 3", "bad [shape]")
        await pilot.press("q")
    assert app.return_value == 3


async def test_a_lost_supervisor_is_said(training_run: Make, control: FakeControl) -> None:
    control.running = False
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "monitor lost")
        await pilot.press("q")
    assert app.return_value == 0


async def test_attach_reads_a_long_history_and_stays_alive(tmp_path: Path, control: FakeControl) -> None:
    script = now_script(5000, run_id="train-1")
    run = recording.write(tmp_path / "train-1", recording.everything(script, 5000))
    app = screen(run, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "train.py")
        await pilot.press("z")
        await until(pilot, lambda: app.view.behind is None and app.session.feed.events > 40_000, seconds=60)
        await pilot.press("z")
        text = await shows(pilot, "Input-bound")
        # It stood since the first minute of the run, not since the reader came.
        assert "since 00:" in text


async def test_attach_to_a_rerun_finds_the_run_before(training_run: Make, control: FakeControl) -> None:
    before = training_run(folder="train-1")
    append(before, ended())
    after = training_run(folder="train-2", step_ms=14.0, wait=0.05, parent="train-1")
    control.runs_by_id["train-1"] = before
    app = screen(after, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "compare with the run before", "faster")


async def test_replay_shows_the_run_at_its_own_pace(tmp_path: Path, control: FakeControl) -> None:
    events = [
        *recording.everything(seconds=20),
        ev.RunEnded(t=recording.START + 30, src="child", exit_code=0, wall_s=30),
    ]
    run = recording.write(tmp_path / "train-1", events)
    app = screen(run, control, replay=ReplayClock(20.0))
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "replay 20x")
        assert app.view.state.ended is None
        await shows(pilot, "Input-bound")
        await pilot.press("r")
        await shows(pilot, "this is a replay")
        await shows(pilot, "finished")
        await pilot.press("q")
    assert control.stopped == [] and control.started == []


async def test_time_axis_and_metric_keys(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(seconds=300), control)
    async with app.run_test(size=(120, 40)) as pilot:
        assert "loss 0." in await shows(pilot, "Input-bound", "epochs")
        await pilot.press("t")
        await shows(pilot, "the last hour", "06:00")
        await pilot.press("left_square_bracket", "left_square_bracket")
        await shows(pilot, "the last minute", "04:15")
        await pilot.press("right_square_bracket", "right_square_bracket", "right_square_bracket")
        await shows(pilot, "the whole run", "06:00")
        await pilot.press("m")
        await shows(pilot, "─ accuracy 0.")


async def test_the_script_s_terminal_is_as_wide_as_its_pane(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: bool(control.sizes))
        assert control.sizes[-1][0] == app.query_one("#output").size.width - 1
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: control.sizes[-1] == (79, 24))


async def test_scrolling_the_output(training_run: Make, control: FakeControl) -> None:
    run = training_run()
    run.output_log.write_bytes(b"".join(f"line {i}\r\n".encode() for i in range(200)))
    app = screen(run, control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "line 199")
        await pilot.press("8", "8")
        await shows(pilot, "line 180")
        await pilot.press("home")
        assert "line 199" not in await shows(pilot, "line 0")
        await pilot.press("end")
        await shows(pilot, "line 199")


async def test_ascii_and_ansi(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control, ascii=True, theme="ansi-dark")
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound", "encoder")
        panes = [p for p in app.query(Pane) if p.display and p.pane_name != "output"]
        assert all(text.isascii() for p in panes for row in p.shown_rows for text, _ in row)


def test_exit_status_is_the_script_s() -> None:
    from tfgpu_tui.core.state import RunState

    state = RunState()
    assert exit_status(state) == 0
    state.apply(ev.RunEnded(t=1.0, signal=9))
    assert exit_status(state) == 137


def test_bindings_footer_and_help_come_from_one_table() -> None:
    from tfgpu_tui.ui.keys import KEYS

    names = {name for name in dir(MonitorApp) if name.startswith("action_")}
    assert all(f"action_{key.action.partition('(')[0]}" in names for key in KEYS)
    assert len({key.name for key in KEYS}) == len(KEYS)
