"""Writes what the screen shows, and what lies behind it, to a folder that a person can keep or send."""

from __future__ import annotations

import errno
import json
import re
import time
from pathlib import Path

from tfgpu_tui.core.measures import csv_text
from tfgpu_tui.core.state import RunState
from tfgpu_tui.report import report_json
from tfgpu_tui.report.html_page import html


def write(parent: Path, state: RunState, svg: str, text: str) -> Path:
    """A new folder `RUN-HHMMSS` in `parent` with report.json, report.html, screen.svg, screen.txt and series.csv.
    Raises OSError."""
    # A recording says itself what it is called: only what `rundir.create` would make a name of.
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", state.run.id if state.run else "").strip(".-")[:100] or "tfgpu-tui"
    folder = _new_folder(parent, f"{name}-{time.strftime('%H%M%S')}")
    built = report_json.build(state)
    files = {
        "report.json": json.dumps(built, indent=1, allow_nan=False) + "\n",
        "report.html": html(state, built),
        "screen.svg": svg,
        "screen.txt": text,
        "series.csv": csv_text(state),
    }
    for file, content in files.items():
        with (folder / file).open("x", encoding="utf-8") as out:
            out.write(content)
    return folder


def _new_folder(parent: Path, stem: str) -> Path:
    for number in range(1, 1000):
        path = parent / (stem if number == 1 else f"{stem}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return path
    raise OSError(errno.EEXIST, "too many exports within one second", str(parent))
