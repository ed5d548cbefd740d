"""Keys beyond those of test_screen: settings, export, copy, search, folding, runs, typing, replay, remapping."""

from __future__ import annotations

import base64
import csv
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ui import recording
from tests.ui.conftest import FakeControl, screen, shows, text_of, until
from tests.ui.test_snapshots import RECORDINGS
from tfgpu_tui.core import events as ev
from tfgpu_tui.runs import rundir
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.runs.rundir import JournalWriter, RunDir
from tfgpu_tui.ui import keys
from tfgpu_tui.ui.feed import ReplayClock
from tfgpu_tui.ui.monitor import MonitorApp
from tfgpu_tui.ui.pane import Pane
from tfgpu_tui.ui.picker import Picker, Prompt

Make = Callable[..., RunDir]


async def test_settings_show_and_change_every_knob(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("s")
        text = await shows(pilot, "settings", "in force", "next run", "memory_growth", "visible_devices")
        assert "It can be script, on, off" in text
        await pilot.press("enter")
        await until(pilot, lambda: app.view.next_knobs == {"memory_growth": "on"})
        await pilot.press("down", "e")
        await shows(pilot, "gpu_memory_limit =")
        await pilot.press(*"12x", "enter")
        await shows(pilot, "gpu_memory_limit = 12x", "can't be")
        await pilot.press("ctrl+u", *"4096", "enter")
        await until(pilot, lambda: app.view.next_knobs.get("gpu_memory_limit") == "4096")
        await shows(pilot, "4096")
        await pilot.press("r")
        await until(pilot, lambda: [run for run, _ in control.reruns] == ["train-1"])


async def test_copy_sends_the_next_step_to_the_clipboard(
    training_run: Make, control: FakeControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        sent: list[str] = []
        assert app._driver is not None
        monkeypatch.setattr(app._driver, "write", sent.append)
        await pilot.press("y")
        await shows(pilot, "next step copied")
        code = next(s for s in sent if s.startswith("\x1b]52;c;"))
        copied = base64.b64decode(code.removeprefix("\x1b]52;c;").rstrip("\a")).decode()
        assert copied == app.view.findings[0][0].next


async def test_export_writes_report_page_picture_text_and_series(
    training_run: Make, control: FakeControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound", "busiest core")
        await pilot.press("e")
        await shows(pilot, "written: ")
    folder = next(path for path in tmp_path.glob("train-1-*") if path.is_dir())
    assert json.loads((folder / "report.json").read_text())["run"]["id"] == "train-1"
    assert "Input-bound" in (folder / "screen.txt").read_text()
    assert "<svg" in (folder / "screen.svg").read_text() and "Input-bound" in (folder / "report.html").read_text()
    rows = list(csv.DictReader((folder / "series.csv").open()))
    assert {"step/input_wait", "gpu/0/busy", "metric/loss"} <= {row["name"] for row in rows}
    waits = [float(row["value"]) for row in rows if row["name"] == "step/input_wait"]
    assert 15 < sum(waits) / len(waits) < 25


async def test_an_export_that_cannot_be_written_is_said(
    training_run: Make, control: FakeControl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = screen(training_run(), control)
    monkeypatch.setattr("tfgpu_tui.ui.monitor.Path.cwd", lambda: tmp_path / "gone")
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("e")
        await shows(pilot, "nothing was written: No such file or directory")


async def test_search_in_the_output_steps_through_the_places(training_run: Make, control: FakeControl) -> None:
    run = training_run()
    run.output_log.write_bytes(b"".join(f"line {i} {'ERROR' if i % 50 == 0 else ''}\r\n".encode() for i in range(200)))
    app = screen(run, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "line 199")
        await pilot.press("8", "slash", *"error")
        await shows(pilot, "search output:", "4 of 4", "line 150 ERROR")
        await pilot.press("enter", "n")
        await shows(pilot, "1 of 4", "line 0 ERROR")
        await pilot.press("n", "N", "N")
        await shows(pilot, "4 of 4", "line 150 ERROR")
        await pilot.press("escape")
        await until(pilot, lambda: app.view.search is None)
        await pilot.press("slash", *"nothing like it")
        await shows(pilot, "nowhere")
        await pilot.press("escape")


async def test_long_lines_of_the_output_move_sideways(training_run: Make, control: FakeControl) -> None:
    run = training_run()
    run.output_log.write_bytes(b"begin " + b"x" * 300 + b" the end\r\n")
    app = screen(run, control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "begin")
        await pilot.press("8", *["right"] * 13)
        assert "begin" not in await shows(pilot, "the end", "from column 261")
        await pilot.press(*["left"] * 13)
        await shows(pilot, "begin")


async def test_placement_folds_filters_and_finds(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "max_pooling2d")
        await pilot.press("7", "down", "left")
        text = await shows(pilot, "▸ encoder")
        assert "max_pooling2d" not in text
        await pilot.press("home", "enter")
        await shows(pilot, "▾ encoder", "max_pooling2d")
        await pilot.press("slash", *"lookup", "enter")
        await until(pilot, lambda: app.board.panes["placement"].cursor == 5)
        await pilot.press("escape", "o")
        text = await shows(pilot, "not on the GPU", "text_lookup", "no GPU kernel")
        assert "max_pooling2d" not in text
        await pilot.press("o")
        await shows(pilot, "max_pooling2d")


async def test_typing_to_the_script(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("i", *"yes q", "enter")
        await until(pilot, lambda: control.typed == ["yes q\r"])
        assert isinstance(app.screen, Prompt) and app.screen.text == ""
        control.error = "train-1 does not take input"
        await pilot.press("x", "enter")
        await shows(pilot, "train-1 does not take input")
        await pilot.press("escape")


async def test_profiling_is_asked_for(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("p")
        await shows(pilot, "measuring the next steps by layer")
        assert control.profiled == 1
        control.error = "the script has no agent that could profile it"
        await pilot.press("p")
        await shows(pilot, "has no agent that could")


async def test_the_command_list_does_what_the_keys_do(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("ctrl+p")
        await shows(pilot, "what to do", "type to search")
        await pilot.press(*"whole screen and back")
        await until(pilot, lambda: isinstance(app.screen, Picker) and len(app.screen.shown) == 1)
        await pilot.press("enter")
        await until(pilot, lambda: app.board.zoomed == "findings")


async def test_runs_are_opened_replayed_compared_and_deleted(
    training_run: Make, control: FakeControl, tmp_path: Path
) -> None:
    first, other = training_run(), training_run(folder="train-2", step_ms=14.0, wait=0.05)
    third = training_run(folder="train-3", gpu=False)
    for run in (other, third):
        writer = JournalWriter(run.journal)
        writer.append(ev.RunEnded(t=time.time(), src="child", exit_code=3 if run is third else 0, wall_s=34.0))
        writer.close()
    control.runs_by_id |= {run.id: run for run in (first, other, third)}
    app = screen(first, control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("b")
        await shows(pilot, "> train-1", "train-2", "finished", "train-3", "failed, exit 3")
        await pilot.press("down", "c")
        await shows(pilot, "compare with the run before", "slower", "train-2")
        await pilot.press("b", "end", "x")
        await shows(pilot, "delete train-3?")
        await pilot.press("x")
        await until(pilot, lambda: control.deleted == ["train-3"])
        await shows(pilot, "> train-1")
        await pilot.press("x")
        await shows(pilot, "this run is on the screen")
        await pilot.press("b", "down", "enter")
        await shows(pilot, "finished", "14.0 ms")
        assert app.session.feed.run.id == "train-2" and app.view.replay is None
        await pilot.press("b", "p")
        await shows(pilot, "replay 1x")


async def test_a_replay_pauses_seeks_and_changes_speed(control: FakeControl) -> None:
    run = rundir.find(str(RECORDINGS / "one-gpu-input-bound.jsonl"))
    app = MonitorApp(run, Settings(interval_s=0.1), theme="textual-dark", control=control, replay=ReplayClock())
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "replay 1x", "/00:20")
        await pilot.press("space")
        await shows(pilot, "PAUSED")
        await pilot.press("full_stop", "full_stop")
        await shows(pilot, "00:10/00:20", "epoch 3/5")
        held = text_of(app)
        await pilot.pause(0.3)
        assert text_of(app) == held
        await pilot.press("comma")
        await shows(pilot, "00:05/00:20")
        await pilot.press("greater_than_sign", "greater_than_sign", "less_than_sign", "space")
        await shows(pilot, "replay 2x")
        await pilot.press(*["full_stop"] * 4)
        await shows(pilot, "finished")


async def test_live_runs_do_not_seek(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(80, 24)) as pilot:
        await shows(pilot, "Input-bound")
        await pilot.press("comma")
        await shows(pilot, "only a replay can be moved")
        await pilot.press("greater_than_sign")
        await shows(pilot, "only a replay has a speed")


async def test_keys_are_remapped_everywhere(training_run: Make, control: FakeControl) -> None:
    settings = Settings(interval_s=0.1, keys={"zoom": "x", "help": "f1"})
    app = MonitorApp(training_run(), settings, control=control, theme="textual-dark")
    async with app.run_test(size=(120, 24)) as pilot:
        await shows(pilot, "Input-bound", "x zoom", "F1 help")
        await pilot.press("z")
        await pilot.press("x")
        await until(pilot, lambda: app.board.zoomed == "findings")
        await pilot.press("f1")
        await shows(pilot, "keys: what is seen", "F1 ")


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"zoon": "x"}, "no action 'zoon'"),
        ({"zoom": "g"}, "would do two things"),
        ({"zoom": "up"}, "scrolls the pane"),
        ({"zoom": ""}, "is no key"),
        ({"zoom": "a,b"}, "is no key"),
    ],
)
def test_a_wrong_key_table_is_refused_in_words(own: dict[str, str], said: str) -> None:
    with pytest.raises(keys.KeyTableError, match=said):
        keys.remapped(own)


async def test_findings_that_are_over_stay_in_the_list(tmp_path: Path, control: FakeControl) -> None:
    """A pause of the input that went by: the list says what stood, and from when to when."""
    script = recording.Script(run_id="train-1", start=time.time() - 200)
    events = [*recording.opening(script), *recording.first_steps(script)]
    for batch in recording.training(script, 20):
        events += batch
    calm = recording.Script(run_id="train-1", start=script.start, wait=0.01, step_ms=6.0)
    for batch in recording.training(calm, 150, begin=25.0):
        events += batch
    app = screen(recording.write(tmp_path / "train-1", events), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await until(pilot, lambda: app.view.behind is None and bool(app.view.past))
        await pilot.press("f")
        await pilot.press("end")
        await shows(pilot, "over", "Input-bound", " to 0")


async def test_mouse_focuses_scrolls_and_zooms(training_run: Make, control: FakeControl) -> None:
    app = screen(training_run(), control)
    async with app.run_test(size=(120, 40)) as pilot:
        await shows(pilot, "Input-bound", "encoder")
        await pilot.click("#step")
        assert app.focused is app.query_one("#step")
        await pilot.click("#epochs", times=2)
        await until(pilot, lambda: app.board.zoomed == "epochs")
        pane = app.query_one("#epochs", Pane)
        assert pane.has_focus
