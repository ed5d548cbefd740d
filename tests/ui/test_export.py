"""Pictures for the README: the same run gives the same file, and it needs nothing from the network."""

from __future__ import annotations

from pathlib import Path

from tests.ui import recording
from tfgpu_tui import events as ev
from tfgpu_tui.ui.picture import picture


async def test_a_picture_is_deterministic_and_self_contained(tmp_path: Path) -> None:
    events = [
        *recording.everything(seconds=20),
        ev.RunEnded(t=recording.START + 30, src="child", exit_code=0, wall_s=30),
    ]
    run = recording.write(tmp_path / "train-1", events, recording.output_text())
    first = await picture(run, 80, 24)
    assert first == await picture(run, 80, 24)
    assert "Input-bound" in first.replace("&#160;", " ") and "@font-face" not in first and "cdnjs" not in first
