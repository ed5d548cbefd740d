"""Long journals: rolled under a reader's eyes, bounded, and known again from a checkpoint as from every event."""

from __future__ import annotations

import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from tests.journals import T0, pipeline, start, steps, windows
from tfgpu_tui.core import checkpoint, events
from tfgpu_tui.core.events import Event, HostSample, Log, RunEnded, Standing
from tfgpu_tui.core.state import RunState, fold
from tfgpu_tui.diagnose import FindingLog, diagnose
from tfgpu_tui.report.report_json import build
from tfgpu_tui.runs import history
from tfgpu_tui.runs.journal import JournalReader, JournalWriter, part_path, parts

RECORDINGS = Path(__file__).parents[2] / "demo" / "recordings"


def recorded(name: str) -> list[Event]:
    lines = (RECORDINGS / name).read_text().splitlines()
    return [event for line in lines if (event := events.decode(line)) is not None]


def long_journal(count: int) -> list[Event]:
    """Events of a run, and its samples."""
    out = start()
    for event in windows(count, wait=0.3):
        out += [event, HostSample(t=event.t, src="host", cpu_percent=40.0, tree_rss_bytes=1 << 30, cores_percent=[1.0])]
    return out + pipeline() + [RunEnded(t=T0 + count, exit_code=0, wall_s=float(count))]


def roll_now(journal: Path, writer: JournalWriter, state: RunState) -> None:
    thread = history.roll(journal, writer, state)
    if thread is not None:
        thread.join()


def write_rolled(journal: Path, written: list[Event], every: int) -> RunState:
    """Writes them, with a roll after `every` events; their fold."""
    writer, state = JournalWriter(journal), RunState()
    for number, event in enumerate(written, start=1):
        state.apply(event)
        assert writer.append(event)
        if number % every == 0:
            roll_now(journal, writer, state)
    writer.close()
    return state


def folded(state: RunState, reader: JournalReader) -> RunState:
    with reader:
        for event in reader:
            state.apply(event)
    return state


@pytest.mark.parametrize("name", sorted(path.name for path in RECORDINGS.glob("*.jsonl")))
def test_a_checkpoint_holds_all_of_a_real_run(name: str) -> None:
    run = recorded(name)
    state = fold(run[: len(run) // 2])
    again = checkpoint.load(checkpoint.dump(state))
    assert checkpoint.dump(again) == checkpoint.dump(state)
    for event in run[len(run) // 2 :]:
        state.apply(event)
        again.apply(event)
    assert checkpoint.dump(again) == checkpoint.dump(state), "it goes on as the one that it was made from"
    assert build(again) == build(state)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"checkpoint":1}',
        '{"checkpoint":99,"state":null}',
        '{"checkpoint":1,"state":{"$":"os.system","v":["x"]}}',
        '{"checkpoint":1,"state":{"$":"RunState","v":7}}',
        '{"checkpoint":1,"state":{"$":"deque","max":-1,"v":[]}}',
        '{"checkpoint":1,"state":{"$":"deque","max":1180591620717411303424,"v":[]}}',
        '{"checkpoint":1,"state":{"$":"RunState","v":{"now":"soon"}}}',
        '{"checkpoint":1,"state":{"$":"RunState","v":{"totals":{"train":7}}}}',
        '{"checkpoint":1,"state":{"$":"RunState","v":{"series":{}}}}',
        '{"checkpoint":1,"state":{"$":"RunState","v":{"host":{"$":"HostSample","v":{"t":1,"cores_percent":["x"]}}}}}',
        '{"checkpoint":1,"state":{"$":"RunState","v":{"rss_by_step":{"$":"Decimated","v":{"points":[1]}}}}}',
        '{"checkpoint":1,"state":{"$":"RunState","v":{"metric_series":{"a":{"$":"Series","v":{"bucket_s":0}}}}}}',
        '{"checkpoint":1,"state":' + "[" * 100_000,
        '{"checkpoint":2,"state":{"$":"RunState","v":{"now":"soon"}}}',
        '{"checkpoint":2,"state":{"$":"RunState","v":{"training":{"$":"part.Process","v":{}}}}}',
        '{"checkpoint":2,"state":{"$":"RunState","v":{"machine":{"$":"part.Machine","v":{"host_series":{}}}}}}',
        '{"checkpoint":2,"state":{"$":"part.Processes","v":{}}}',
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        checkpoint.load(text)


def test_fields_of_another_version_do_no_harm() -> None:
    data = json.loads(checkpoint.dump(fold(start())))
    values = data["state"]["v"]
    values["of_the_future"] = [1, 2]
    del values["lifecycle"]["v"]["agent_pids"]
    state = checkpoint.load(json.dumps(data))
    assert state.agent_pids == [] and state.run is not None and not hasattr(state, "of_the_future")


def _without_account(report: dict[str, Any]) -> dict[str, Any]:
    report["unknown"].pop("account", None)
    for process in report["processes"]:
        del process["account"]
    del report["account"]
    return report


def test_a_checkpoint_of_the_version_before_goes_on() -> None:
    """Written by it half through this recording."""
    run = recorded("one-gpu-input-bound.jsonl")
    packed = (Path(__file__).parent / "state-of-version-1.json.gz").read_bytes()
    whole, resumed = fold(run[: len(run) // 2]), checkpoint.load(gzip.decompress(packed))
    assert build(resumed)["account"] is None  # that version kept none
    assert _without_account(build(resumed)) == _without_account(build(whole))
    for event in run[len(run) // 2 :]:
        whole.apply(event)
        resumed.apply(event)
    assert _without_account(build(resumed)) == _without_account(build(whole))
    assert resumed.marks == whole.marks
    assert list(resumed.processes) == list(whole.processes)


def test_of_several_processes_a_checkpoint_of_the_version_before_has_the_sum() -> None:
    run = json.loads(gzip.decompress((Path(__file__).parent / "state-of-version-1.json.gz").read_bytes()))
    run["state"]["v"]["processes"]["v"].append(99)
    state = checkpoint.load(json.dumps(run))
    before = state.train.steps
    state.apply(steps(100.0, 20, pid=99))
    assert (state.train.steps, state.processes[99].steps.train.steps) == (before + 20, 20)


def test_a_rolled_journal_reads_as_one_that_was_not(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    written = long_journal(300)
    state = write_rolled(journal, written, every=100)
    assert list(parts(journal)) == list(range(1, len(written) // 100 + 1))
    assert all(path.suffix == ".gz" for path in parts(journal).values())
    with JournalReader(journal) as reader:
        assert list(reader) == written
    whole, reader = history.whole(journal)
    assert checkpoint.dump(folded(whole, reader)) == checkpoint.dump(state)
    newest, rest = history.latest(journal)
    assert newest.run is not None, "it begins with what is known already"
    assert checkpoint.dump(folded(newest, rest)) == checkpoint.dump(state)


def test_a_reader_follows_through_rolls(tmp_path: Path) -> None:
    """It reads at any moment, with any limit: every event comes once, in order."""
    journal, chance = tmp_path / "journal.jsonl", random.Random(1)
    writer, state = JournalWriter(journal), RunState()
    seen: list[float] = []
    with JournalReader(journal) as reader:
        for number in range(3000):
            event = Log(t=float(number), size_bytes=number)
            state.apply(event)
            assert writer.append(event)
            if chance.random() < 0.01:
                roll_now(journal, writer, state)
            if chance.random() < 0.05:
                seen += [e.t for e in reader.poll(chance.choice([None, 1, 50]))]
        seen += [e.t for e in reader.poll()]
    writer.close()
    assert seen == [float(number) for number in range(3000)]


def test_old_parts_go_when_all_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "KEEP_BYTES", 8000)
    journal = tmp_path / "journal.jsonl"
    state = write_rolled(journal, long_journal(600), every=100)
    there = list(parts(journal))
    assert there[0] > 1 and there[-1] == 12, "the oldest are gone"
    assert sum(path.stat().st_size for path in parts(journal).values()) <= 8000 + 2500
    assert history.states(journal) == [there[0] - 1, *there]
    for begin in (history.latest, history.whole):
        assert checkpoint.dump(folded(*begin(journal))) == checkpoint.dump(state), "and yet nothing is forgotten"


def test_the_state_before_a_time_leads_to_the_state_at_it(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    # As they come: a machine's sample between two windows, not at the very same time.
    written = sorted(long_journal(300), key=lambda event: event.t)
    write_rolled(journal, written, every=100)
    begun_at: set[int] = set()
    for t in (T0 - 1, *(event.t for event in written[::60]), written[-1].t, written[-1].t + 1):
        state, reader = history.before(journal, t)
        begun_at.add(reader.number)
        assert state.run is None or state.now <= t
        with reader:
            rest = list(reader)
        assert sum(event.t <= t for event in rest) <= 100, "no more than a part is read"
        for event in rest:
            if event.t <= t:
                state.apply(event)
        assert checkpoint.dump(state) == checkpoint.dump(fold([event for event in written if event.t <= t]))
    assert len(begun_at) >= 5
    assert history.last_before(journal, T0 - 1) == -1


def test_a_broken_checkpoint_before_a_time_is_passed_over(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    written = sorted(long_journal(300), key=lambda event: event.t)
    state = write_rolled(journal, written, every=100)
    last = history.last_before(journal, written[-1].t)
    part_path(journal, last, ".state.gz").write_bytes(b"no state")
    begun, reader = history.before(journal, written[-1].t)
    assert reader.number == last
    assert checkpoint.dump(folded(begun, reader)) == checkpoint.dump(state)


def test_since_when_a_finding_stands_is_known_from_a_checkpoint(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    written = sorted([*long_journal(300), Standing(t=T0 + 9, since={"input.bound": T0 + 8})], key=lambda event: event.t)
    write_rolled(journal, written, every=100)
    state, reader = history.latest(journal)
    assert reader.number > 1
    with reader:
        shown = {finding.id: t for finding, t in FindingLog().update(diagnose(state), state.now, state.standing)}
    assert shown["input.bound"] == T0 + 8
    assert "gpu.none" in shown and shown["gpu.none"] == state.now, "of this one nothing was told"


def test_a_broken_checkpoint_is_passed_over(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    state = write_rolled(journal, long_journal(300), every=100)
    newest = history.states(journal)[-1]
    path = part_path(journal, newest, ".state.gz")
    path.write_bytes(path.read_bytes()[:50])
    part_path(journal, newest - 1, ".state.gz").write_bytes(gzip.compress(b"[1]"))
    assert checkpoint.dump(folded(*history.latest(journal))) == checkpoint.dump(state)


def test_a_journal_that_was_deleted_begins_with_the_state(tmp_path: Path) -> None:
    journal = tmp_path / "run" / "journal.jsonl"
    journal.parent.mkdir()
    written = long_journal(50)
    writer, state = JournalWriter(journal), RunState()
    for event in written[:60]:
        state.apply(event)
        writer.append(event)
    journal.unlink()
    journal.parent.rmdir()
    assert writer.deleted
    roll_now(journal, writer, state)
    assert not writer.deleted
    for event in written[60:]:
        state.apply(event)
        writer.append(event)
    writer.close()
    for begin in (history.latest, history.whole):
        assert checkpoint.dump(folded(*begin(journal))) == checkpoint.dump(fold(written))


def test_a_state_that_unpacks_without_end_is_passed_over(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    state = write_rolled(journal, long_journal(300), every=100)
    last = part_path(journal, history.states(journal)[-1], ".state.gz")
    last.write_bytes(gzip.compress(b" " * (history.LARGEST_STATE + 1), 1))
    assert history.read_state(journal, history.states(journal)[-1]) is None
    assert checkpoint.dump(folded(*history.latest(journal))) == checkpoint.dump(state)


def test_a_part_that_is_none_is_passed_over(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    written = long_journal(300)
    write_rolled(journal, written, every=200)
    part_path(journal, 1).unlink()
    part_path(journal, 1, ".jsonl").mkdir()
    os.mkfifo(part_path(journal, 2, ".jsonl"))
    part_path(journal, 2).unlink(missing_ok=True)
    with JournalReader(journal) as reader:
        assert list(reader) == written[400:]
        assert reader.skipped == 2


def test_a_compressed_part_that_is_broken_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    written = long_journal(300)
    write_rolled(journal, written, every=200)
    part = part_path(journal, 1)
    part.write_bytes(part.read_bytes()[:-2000])
    with JournalReader(journal) as reader:
        seen = list(reader)
        assert reader.skipped == 1
    assert seen[-len(written) + 200 :] == written[200:], "the parts after it are whole"
    assert 0 < len(seen) < len(written)


def test_a_part_left_uncompressed_is_read_and_compressed_later(tmp_path: Path) -> None:
    journal = tmp_path / "journal.jsonl"
    written = long_journal(50)
    write_rolled(journal, written, every=1000)
    journal.rename(part_path(journal, 1, ".jsonl"))
    with JournalReader(journal) as reader:
        assert list(reader) == written
    thread = history.compress_parts(journal)
    assert thread is not None
    thread.join()
    assert [path.name for path in parts(journal).values()] == ["journal.0001.jsonl.gz"]
    with JournalReader(journal) as reader:
        assert list(reader) == written
