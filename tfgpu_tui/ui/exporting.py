"""Writes what the screen shows, and what lies behind it, to a folder that a person can keep or send."""

from __future__ import annotations

import json
import time
from pathlib import Path

from tfgpu_tui import report
from tfgpu_tui.html_report import html
from tfgpu_tui.measures import csv_text
from tfgpu_tui.state import RunState


def write(parent: Path, state: RunState, svg: str, text: str) -> Path:
    """A new folder `RUN-HHMMSS` in `parent` with report.json, report.html, screen.svg, screen.txt and series.csv.
    Raises OSError."""
    name = state.run.id if state.run else "tfgpu-tui"
    stem = f"{name}-{time.strftime('%H%M%S')}"
    folder = next(path for n in range(1, 1000) if not (path := parent / (stem if n == 1 else f"{stem}-{n}")).exists())
    folder.mkdir()
    built = report.build(state)
    files = {
        "report.json": json.dumps(built, indent=1, allow_nan=False) + "\n",
        "report.html": html(state, built),
        "screen.svg": svg,
        "screen.txt": text,
        "series.csv": csv_text(state),
    }
    for file, content in files.items():
        (folder / file).write_text(content, encoding="utf-8")
    return folder
