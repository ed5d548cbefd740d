"""`python -m tfgpu_tui.ui.export RUN --size 120x40 out.svg`: a picture of a run's screen, for the README."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from pathlib import Path

from tfgpu_tui import rundir
from tfgpu_tui.config import Settings
from tfgpu_tui.rundir import RunDir
from tfgpu_tui.ui.monitor import MonitorApp


def deterministic(svg: str) -> str:
    """The picture without its reference to a font on the network, and with ids that do not change from run to run."""
    svg = re.sub(r"@font-face\s*\{[^}]*\}", "", svg)
    svg = re.sub(r"terminal-\d+-", "terminal-", svg)
    return re.sub(r"font-family:\s*Fira Code", "font-family: 'Fira Code'", svg)


async def picture(run: RunDir, columns: int, rows: int, theme: str = "textual-dark", keys: tuple[str, ...] = ()) -> str:
    """The screen of a run that has ended (or of a running one, as it is now) as SVG text; `keys` are pressed first."""
    app = MonitorApp(run, Settings(), theme=theme)
    async with app.run_test(size=(columns, rows)) as pilot:
        while app.session.feed.events == 0 or app.session.behind:
            await pilot.pause(0.05)
        await pilot.pause(2 * app.settings.interval_s)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.1)
        return deterministic(app.export_screenshot(title=f"tfgpu-tui  {columns}x{rows}"))


def main() -> int:
    """Writes the picture; 2 where the run can't be found."""
    parser = argparse.ArgumentParser(prog="python -m tfgpu_tui.ui.export", description=__doc__, allow_abbrev=False)
    parser.add_argument("run", help="a run's id, a beginning of it, `last`, or a path")
    parser.add_argument("out", type=Path, help="the SVG file")
    parser.add_argument("--size", default="120x40", help="COLUMNSxROWS")
    parser.add_argument("--theme", default="textual-dark", help="a theme of Textual by name")
    parser.add_argument("--keys", default="", help="keys to press first, with blanks between them")
    asked = parser.parse_args()
    size = re.fullmatch(r"(\d+)x(\d+)", asked.size)
    if size is None:
        parser.error(f"--size {asked.size}: write it as COLUMNSxROWS, for example 120x40")
    try:
        run = rundir.find(asked.run)
        rundir.read_meta(run)
    except rundir.RunNotFound as error:
        print(f"tfgpu-tui: {error}", file=sys.stderr)
        return 2
    keys = tuple(asked.keys.split())
    svg = asyncio.run(picture(run, int(size[1]), int(size[2]), asked.theme, keys))
    asked.out.write_text(svg, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
