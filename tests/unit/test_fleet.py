"""The fleet: a row of a run, the ranks of a job side by side, and how a history is read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.journals import T0, start, steps
from tfgpu_tui.core import checkpoint, fleet
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.fleet import Row
from tfgpu_tui.core.state import RunState, fold
from tfgpu_tui.diagnose import ranks
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.fleet.follow import Followed
from tfgpu_tui.report import fleet as report

STEP_MS, WINDOWS = 10.0, 80


def trained(
    rank: int, wait_ms: float = 0.2, host_ms: float = 0.5, step_ms: float = STEP_MS, **more: object
) -> RunState:
    """A rank after a minute; each window a little different from the next."""
    values: dict[str, object] = {"job": "81.0", "rank": rank, "world_size": 4, "synchronous": True, **more}
    member = ev.Member(t=T0 + 2, src="agent", pid=4711, **values)  # type: ignore[arg-type]
    begun = [replace(e, host=f"node{rank}") if isinstance(e, ev.RunStarted) else e for e in start(run_id=f"r{rank}")]
    windows = [
        steps(2 + 0.25 * i, 25, step_ms, wait_ms * (1 + 0.05 * ((i * 7) % 5 - 2)) / step_ms, host_ms / step_ms,
              first_step=1 + 25 * i)
        for i in range(WINDOWS)
    ]  # fmt: skip
    return fold([*begun, member, *windows])


def row_of(state: RunState, **more: object) -> Row:
    known = state.run.id if state.run is not None else "?"
    return replace(fleet.row(state, key=known), **more)  # type: ignore[arg-type]


def four(*waits_ms: float) -> list[Row]:
    return [row_of(trained(rank, wait_ms)) for rank, wait_ms in enumerate(waits_ms)]


def ids(rows: Sequence[Row]) -> list[str]:
    return [finding.id for finding in ranks.findings(rows)]


def only(rows: Sequence[Row]) -> Finding:
    (found,) = ranks.findings(rows)
    return found


def test_a_row_tells_what_its_run_does() -> None:
    row = row_of(trained(2, 3.0))
    assert (row.run, row.host, row.job, row.rank, row.world_size) == ("r2", "node2", "81.0", 2, 4)
    assert row.step == WINDOWS * 25 and row.step_s == pytest.approx(STEP_MS / 1e3, rel=1e-6)
    assert row.input is not None and row.input.mean_s == pytest.approx(3e-3, rel=0.02)
    assert row.shares[0] == pytest.approx(0.3, abs=0.01)
    assert (row.gpu_busy_percent, row.gpu_power_w, row.memory_bytes) == (None, None, None), "unknown is no 0"


def test_the_rank_that_waits_longer_for_its_input_is_named() -> None:
    for straggler in range(4):
        found = only(four(*(5.0 if rank == straggler else 0.2 for rank in range(4))))
        assert (found.id, found.severity) == ("run.straggler_input", "critical")
        assert found.evidence["rank"] == straggler and found.evidence["host"] == f"node{straggler}"
        assert found.title == f"Rank {straggler} on node{straggler} waits 4.80 ms a step longer for its input than " \
            "the median rank"  # fmt: skip


def test_equal_ranks_and_small_differences_name_nobody() -> None:
    assert ids(four(0.2, 0.2, 0.2, 0.2)) == []
    assert ids(four(3.0, 3.1, 2.9, 3.0)) == []
    assert ids(four(0.2, 0.2, 0.2, 1.0)) == [], "8 % of a step"
    assert ids(four(0.5, 2.0, 3.5, 5.0)) == [], "all differ: none stands out of the spread"


def test_of_two_ranks_the_difference_is_only_told() -> None:
    found = only(four(0.2, 5.0))
    assert (found.id, found.severity, found.evidence["rank"]) == ("run.straggler_input", "info", 1)
    assert "than the other rank" in found.title
    assert only(four(5.0, 0.2)).evidence["rank"] == 0
    assert ids(four(5.0, 5.0)) == []


def test_the_rank_that_is_longer_between_its_steps_is_named() -> None:
    rows = [row_of(trained(rank, host_ms=4.0 if rank == 0 else 0.5)) for rank in range(4)]
    found = only(rows)
    assert (found.id, found.severity, found.evidence["rank"]) == ("run.straggler_host", "critical", 0)


def test_one_long_pause_makes_no_straggler() -> None:
    """A checkpoint of 2 s within the last 15 s: 13 % of them."""
    state = trained(0)
    state.apply(steps(22, 25, 2000 / 25 + STEP_MS, 0.0, 0.9, first_step=2001))
    assert ids([row_of(state, step_s=STEP_MS / 1e3), *(row_of(trained(rank)) for rank in (1, 2, 3))]) == []


def test_ranks_that_do_not_wait_for_each_other_are_not_compared() -> None:
    for unknown in (None, False):
        rows = [row_of(trained(rank, 5.0 if rank == 3 else 0.2, synchronous=unknown)) for rank in range(4)]
        assert ids(rows) == []
    apart = [row_of(trained(rank, 5.0 if rank == 3 else 0.2, step_ms=15 if rank == 3 else 10)) for rank in range(4)]
    assert ids(apart) == [], "who waits for nobody has longer steps"


def test_ranks_that_start_later_die_or_start_again() -> None:
    rows = four(5.0, 0.2, 0.2, 0.2)
    late = row_of(fold([*start(run_id="r4"), ev.Member(t=T0, src="agent", job="81.0", rank=4, synchronous=True)]))
    assert ids([*rows, late]) == ["run.straggler_input"]
    dead = replace(rows[0], life="ended")
    assert ids([dead, *rows[1:]]) == []
    again = replace(rows[0], key="again", run="again", started=T0 + 99, input=rows[1].input)
    jobs = fleet.jobs([*rows[1:], dead, again])
    assert [row.key for row in jobs["81.0"]] == ["again", "r1", "r2", "r3"]
    assert ids(jobs["81.0"]) == []


def test_a_rank_of_which_nothing_is_heard_is_told_while_others_go_on() -> None:
    rows = four(0.2, 0.2, 0.2, 0.2)
    silent = replace(rows[2], quiet_s=45.0)
    found = only([*rows[:2], silent, rows[3]])
    assert (found.id, found.severity, found.evidence["ranks"]) == ("run.rank_silent", "critical", [2])
    assert "Rank 2 on node2" in found.title and "45" in found.title
    assert ids([replace(row, quiet_s=45.0) for row in rows]) == [], "all are: it is the reader's link or disk"
    assert ids([*rows[:2], replace(silent, life="ended"), rows[3]]) == [], "it said that it ended"
    assert ids([*rows[:2], replace(silent, life="lost"), rows[3]]) == ["run.rank_silent"]


def lines(journal: Sequence[ev.Event]) -> list[bytes]:
    return [ev.encode(event).encode() for event in journal]


def journal() -> list[ev.Event]:
    member = ev.Member(t=T0 + 2, src="agent", pid=4711, job="81.0", rank=3)
    standing = ev.Standing(t=T0 + 9, src="child", since={"input.bound": T0 + 8}, severity={"input.bound": "critical"})
    windows = [steps(2 + 0.25 * i, 25, STEP_MS, 0.3, first_step=1 + 25 * i) for i in range(400)]
    hosts = [ev.HostSample(t=T0 + 2 + 0.5 * i, src="host", tree_rss_bytes=1000 + i) for i in range(200)]
    return [*start(), member, *windows[:50], standing, *windows[50:], *hosts]


def test_a_history_read_in_pieces_gives_the_row_of_the_whole() -> None:
    whole = fleet.row(fold(journal()), key="k")
    told = lines(journal())
    for size in (1, 7, 100, len(told)):
        followed = Followed()
        for at in range(0, len(told), size):
            followed.take(told[at : at + size])
        row = fleet.row(followed.state, key="k")
        for name, value in vars(row).items():
            expected = getattr(whole, name)
            if isinstance(expected, fleet.Own):  # over sums of windows; how much those differ is another question
                value, expected = value.mean_s, expected.mean_s
            assert name == "judged_steps" or value == pytest.approx(expected), name
    assert whole.step == 10_000 and whole.findings[0].severity == "critical" and whole.memory_bytes == 1199


def test_what_no_row_needs_and_what_is_broken_is_passed_over() -> None:
    followed = Followed()
    followed.take([*lines(journal()), b'{"type":"steps"', b"\xff", b'{"type":"run_started","t":"x"}', b""])
    assert fleet.row(followed.state, key="k").step == 10_000
    followed.begin_at("no state")
    assert followed.state.run is None
    followed.begin_at(checkpoint.dump(fold(journal())))
    assert fleet.row(followed.state, key="k").step == 10_000


def test_as_text_and_as_json() -> None:
    rows = four(0.2, 0.2, 0.2, 5.0)
    told = [("81.0", finding) for finding in ranks.findings(rows)]
    text = report.lines(rows, told, ["node9: no route"], T0 + 60)
    assert text[0].split()[:3] == ["host", "job", "rank"] and text[1].split()[:3] == ["node0", "81.0", "0/4"]
    assert any("run.straggler_input" in line for line in text) and text[-1] == "not read: node9: no route"
    data = json.loads(json.dumps(report.as_json(rows, told, [], T0), allow_nan=False))
    assert [run["rank"] for run in data["runs"]] == [0, 1, 2, 3] and data["findings"][0]["job"] == "81.0"
    assert data["runs"][0]["gpu_busy_percent"] is None


def test_each_cell_has_its_head() -> None:
    assert len(report.HEAD) == len(report.cells(row_of(trained(0)), T0))
