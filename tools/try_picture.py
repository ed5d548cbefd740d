"""Draws docs/pictures/try.svg: an experiment on the screen, from a recorded one and the journal of one of its trials.

python -m tools.try_picture [--keep STATE_FOLDER GROUP]

`--keep` makes the recording first, of an experiment in a state folder. Nothing is invented; paths and the machine's
name are left out, as `tests.nvml.keep` does.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from tests.nvml.keep import kept
from tfgpu_tui.core.events import Stopping
from tfgpu_tui.runs.journal import JournalReader
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.trials import records
from tfgpu_tui.trials.records import Current
from tfgpu_tui.ui import picture
from tfgpu_tui.ui.view import Trials

ROOT = Path(__file__).parents[1]
RECORDED = ROOT / "demo" / "recordings"
GROUP, RUN = RECORDED / "try-slow-map.json", RunDir(RECORDED, "try-slow-map.jsonl")
TRIALS = 3
"""Of the recorded experiment that are over in the picture; the next one runs, and that is the journal that is kept."""


def keep(state: Path, group_id: str) -> None:
    """Writes the recording."""
    group = records.from_json(json.loads((state / "trials" / f"{group_id}.json").read_text()))
    journal = (state / "runs" / group.records[TRIALS].run / "journal.jsonl").read_text()
    python = json.loads(journal.partition("\n")[0])["python"]
    words = {python: "python3", str(Path(python).parents[1]): "/venv", str(state): "state"}
    RUN.journal.write_text(kept(journal, words))
    argv = [Path(group.argv[0]).name, *group.argv[1:]]
    told = records.to_json(replace(group, argv=argv, cwd=".", python="python3", conductor=None))
    GROUP.write_text(json.dumps(told, indent=1) + "\n")


def drawn() -> str:
    """The picture, right before the trial is ended."""
    whole = records.from_json(json.loads(GROUP.read_text()))
    trial = whole.records[TRIALS]
    with JournalReader(RUN.journal) as reader:
        at_s = next(event.t for event in reader if isinstance(event, Stopping)) - 0.5 - trial.begun

    def trials(now: float) -> Trials:
        spent_s = trial.begun + at_s - whole.begun
        return Trials(
            replace(
                whole,
                records=whole.records[:TRIALS],
                ended=None,
                now=Current(trial.setting, trial.run, now - at_s),
                until=now + whole.budget_s - spent_s,
            ),
            alive=True,
        )

    return picture.draw(RUN, 120, 40, theme="dark", at_s=at_s, trials=trials)


def main() -> None:
    """Writes it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", nargs=2, metavar=("STATE_FOLDER", "GROUP"))
    options = parser.parse_args()
    if options.keep:
        keep(Path(options.keep[0]).absolute(), options.keep[1])
    (ROOT / "docs" / "pictures" / "try.svg").write_text(drawn(), encoding="utf-8")


if __name__ == "__main__":
    main()
