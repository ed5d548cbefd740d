"""The fleet's screen: rows, order, filter; Enter opens the chosen run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from tests.unit.test_fleet import four
from tfgpu_tui.core.fleet import Row
from tfgpu_tui.fleet.watch import Fleet
from tfgpu_tui.runs.configuration import Settings
from tfgpu_tui.ui.fleet import FleetApp
from tfgpu_tui.ui.fleet_view import Look
from tfgpu_tui.ui.snapshot import screen_rows


class Made:
    """A source of rows that are given."""

    def __init__(self, rows: list[Row]) -> None:
        self.given = rows

    def read(self, now: float, deadline: float) -> bool:
        return False

    def rows(self, now: float) -> Iterator[Row]:
        yield from self.given

    def notes(self) -> list[str]:
        return ["node9: no route to host"]

    def close(self) -> None:
        pass


def app_of(rows: list[Row]) -> FleetApp:
    return FleetApp(Fleet([Made(rows)], clock=time.time), Settings(), Look(), theme="ansi-dark")


def text(app: FleetApp) -> str:
    return "\n".join(screen_rows(app))


async def test_it_shows_all_ranks_who_holds_them_back_and_what_is_not_read() -> None:
    app = app_of(four(0.2, 0.2, 0.2, 5.0))
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        shown = text(app)
        assert "4 running, 1 job" in shown and "node9: no route to host" in shown
        assert "Rank 3 on node3 waits" in shown
        assert [row.split()[1] for row in shown.splitlines() if " 81.0 " in row and "node" in row.split()[0]]


async def test_a_filter_narrows_it_and_enter_opens_what_is_chosen() -> None:
    app = app_of(four(0.2, 0.2, 0.2, 0.2))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("slash", *"node2", "enter")
        await pilot.pause()
        assert "node2" in text(app) and "node1" not in text(app)
        await pilot.press("enter")
        await pilot.pause()
    assert app.return_value is not None and app.return_value.run == "r2"


async def test_the_cursor_stays_on_its_run_when_rows_move() -> None:
    rows = four(0.2, 0.2, 0.2, 0.2)
    source = Made(rows)
    app = FleetApp(Fleet([source]), Settings(), Look(), theme="ansi-dark")
    async with app.run_test(size=(120, 40)) as pilot:
        await pilot.pause()
        await pilot.press("down", "down")
        await pilot.pause()
        assert app.look.chosen == "r2"
        source.given = [replace(rows[0], rank=9), *rows[1:]]
        app._tick()
        await pilot.press("enter")
        await pilot.pause()
    assert app.return_value is not None and app.return_value.run == "r2"
