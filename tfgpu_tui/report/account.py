"""report.json's section `account`: where the whole wall time went; and its text (pure)."""

from __future__ import annotations

from typing import Any

from tfgpu_tui.core import units
from tfgpu_tui.core.account import WORDS, WholeRun, main_process, whole_run
from tfgpu_tui.core.parts.process import Process
from tfgpu_tui.core.state import RunState

SHOWN = 6
"""Parts of which the text has a word; the rest is one."""


def account(state: RunState) -> dict[str, Any] | None:
    """Of the script's own process: parts that sum to its wall time, where its main thread stood outside of steps, and
    the first executions of what was traced."""
    found, main = whole_run(state), main_process(state)
    if found is None:
        return None
    places = [{**place, "seconds": round(place["seconds"], 3)} for place in found.places]
    return {"pid": main.pid, **parts(found), "places": places, "first_runs": first_runs(main)}


def of_process(state: RunState, process: Process) -> dict[str, Any] | None:
    """The parts of one of several processes, from its first import of TensorFlow to the last that it told."""
    found = whole_run(state, process)
    return None if found is None else parts(found)


def parts(found: WholeRun) -> dict[str, Any]:
    """Seconds and shares."""
    return {
        "wall_s": round(found.wall_s, 3),
        "parts": [
            {
                "part": part.key,
                "seconds": round(part.seconds, 6),
                "share": round(part.seconds / found.wall_s, 6),
                "of": {name: round(seconds, 6) for name, seconds in part.of.items()},
            }
            for part in found.parts
        ],
    }


def first_runs(process: Process) -> list[dict[str, Any]]:
    """Longest first."""
    runs = sorted(process.account.first_runs.values(), key=lambda run: -run.wall_s)
    return [{k: v for k, v in vars(run).items() if k not in ("t", "src", "pid")} for run in runs]


def text(told: dict[str, Any] | None) -> list[str]:
    """One or two lines: `whole run  steps 62 % (41.2 s), imports 12 % (8.1 s), …`."""
    if told is None:
        return []
    longest = sorted(told["parts"], key=lambda part: -part["seconds"])
    said = [f"{WORDS[p['part']]} {units.duration(p['seconds'])} ({units.share(p['share'])})" for p in longest[:SHOWN]]
    rest = sum(p["seconds"] for p in longest[SHOWN:])
    if rest > 0.0:
        said.append(f"the rest {units.duration(rest)}")
    half = (len(said) + 1) // 2
    return (
        [f"whole run  {', '.join(said[:half])},", f"           {', '.join(said[half:])}"]
        if half < len(said)
        else [f"whole run  {', '.join(said)}"]
    )
