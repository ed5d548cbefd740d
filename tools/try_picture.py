"""Draws docs/pictures/try.svg: an experiment on the screen, from a recorded one and the recording of such a run.

python -m tools.try_picture
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.trials import records
from tfgpu_tui.trials.records import Current, Group
from tfgpu_tui.ui import picture
from tfgpu_tui.ui.view import Trials

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "demo" / "recordings"
TRIALS = 4
"""Of the recorded experiment that are over in the picture; the next one runs."""
RUNS_S = 9.0


def experiment() -> Group:
    """The experiment as it was recorded, whole."""
    return records.from_json(json.loads((RECORDED / "try-slow-map.json").read_text()))


def in_its_midst(now: float) -> Trials:
    """As it was after some trials, had the next one begun a little before `now` (unix seconds)."""
    whole = experiment()
    following = whole.records[TRIALS]
    spent_s = following.begun - whole.begun + RUNS_S
    current = Current(following.setting, following.run, now - RUNS_S)
    shown = replace(
        whole, records=whole.records[:TRIALS], ended=None, now=current, until=now + whole.budget_s - spent_s
    )
    return Trials(shown, alive=True)


def main() -> None:
    """Writes it."""
    run = RunDir(RECORDED, "cpu-input-parallel.jsonl")
    drawn = picture.draw(run, 120, 40, theme="dark", at_s=12.0, trials=in_its_midst)
    (ROOT / "docs" / "pictures" / "try.svg").write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
