"""Names and output that a script chose can neither steer the terminal nor be taken for markup."""

from __future__ import annotations

import time
from pathlib import Path

from tests.ui import recording
from tests.ui.conftest import FakeControl, now_script, rows_of, screen, shows
from tfgpu_tui.core import events as ev
from tfgpu_tui.terminal.lines import char_width

HOSTILE = "[bold red]x[/]\x1b[2J\x1b]0;own\x07\r\n\u202eevil\x9b31m"


async def test_hostile_names_and_output(tmp_path: Path, control: FakeControl) -> None:
    script = now_script(30, layer=HOSTILE, metric=HOSTILE)
    events = recording.everything(script, 30)
    events.append(ev.ScriptError(t=time.time(), exception=HOSTILE, message=HOSTILE, file=HOSTILE, line=3, main=True))
    events.append(ev.HookOff(t=time.time(), hook=HOSTILE, reason=HOSTILE))
    events.append(ev.Fault(t=time.time(), part="gpu", message=HOSTILE))
    events.append(ev.Phase(t=time.time(), phase=HOSTILE))
    output = HOSTILE.encode() + b"\r\n\x1b[31m[red]not markup[/red]\x1b[0m\x1b[?1049l\x1b[5n\x1b[6n\r\n"
    run = recording.write(tmp_path / "train-1", events, output)
    app = screen(run, control)
    async with app.run_test(size=(200, 50)) as pilot:
        await shows(pilot, "[red]not markup[/red]", "[bold red]x[/]")
        for key in (None, "f", "7", "5", "8", "question_mark"):
            if key:
                await pilot.press("escape", key)
                await pilot.pause(0.1)
            for row in rows_of(app):
                assert all(char_width(c) >= 0 for c in row), row
            if key == "question_mark":
                await pilot.press("escape")


async def test_odd_values_do_not_break_a_pane(tmp_path: Path, control: FakeControl) -> None:
    """A newer or broken agent may leave fields out: what is not known is a dash."""
    script = now_script(10)
    events = recording.everything(script, 10)
    t = time.time()
    events += [
        ev.Pipeline(t=t, stages=[{"stage": "Map"}, {"stage": "Batch", "name": None}], user=[{"name": "gen"}]),
        ev.Placement(t=t, layers=[{"layer": "a"}, {"layer": "b", "depth": 3, "forward": None, "parameters": None}]),
        ev.GpuSample(t=t, gpus=[{"index": 0, "uuid": recording.UUID, "error": "GPU is lost"}]),
        ev.HostSample(t=t),
        ev.Metrics(t=t, step=1, values={"loss": "nan", "lr": 1e-5}),
        ev.Epoch(t=t, state="end", epoch=1, metrics={"loss": "nan"}),
        ev.TfMemory(t=t, devices=[{"device": "GPU:0"}]),
    ]
    run = recording.write(tmp_path / "train-1", events)
    app = screen(run, control)
    async with app.run_test(size=(160, 45)) as pilot:
        await shows(pilot, "nan", "GPU is lost", "your")
        for key in "123456789":
            await pilot.press(key, key, "escape")
        await shows(pilot, "input pipeline")
