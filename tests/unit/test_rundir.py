"""Run folders and journals: found by any sensible name, safe from others, readable while they grow or are torn."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tfgpu_tui import events, rundir
from tfgpu_tui.rundir import JournalReader, JournalWriter, RunDir, RunNotFound

ENDED = events.RunEnded(t=105.0, exit_code=0, wall_s=5.0)


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    (tmp_path / "runtime").mkdir(mode=0o700)
    return tmp_path / "state"


def make(script: str = "train.py", *arguments: str) -> RunDir:
    return rundir.create([script, *arguments], cwd="/", python="/usr/bin/python3")


def journal(run: RunDir, *written: events.Event) -> None:
    writer = JournalWriter(run.journal)
    for event in written:
        assert writer.append(event)
    writer.close()


def phase(number: int) -> events.Phase:
    return events.Phase(t=float(number), phase=f"phase {number}")


@pytest.mark.parametrize(
    ("argv", "stem"),
    [
        (["train.py"], "train"),
        (["/a/b/my train$(x).py"], "my-train-x"),
        (["-u", "-X", "dev", "b/train.py", "-m"], "train"),
        (["-OO", "-m", "pkg.train"], "train"),
        (["-u", "-c", "import x"], "command"),
        (["-Wi", "folder/"], "folder"),
        (["-m", "pkg.train"], "train"),
        (["-m", "pkg.__main__"], "pkg"),
        (["...."], "run"),
    ],
)
def test_ids_come_from_the_script(argv: list[str], stem: str) -> None:
    run = rundir.create(argv, cwd="/", python="p")
    assert run.id.rsplit("-", 2)[0] == stem
    meta = rundir.read_meta(run)
    assert (meta.id, meta.argv) == (run.id, argv)


def test_folders_are_private_and_unique() -> None:
    runs = [make() for _ in range(20)]
    assert len({run.id for run in runs}) == 20
    assert len({rundir.read_meta(run).socket for run in runs}) == 20
    assert all(run.path.stat().st_mode & 0o777 == 0o700 for run in runs)


def test_sockets_have_short_paths_in_a_private_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = tmp_path / "runtime"
    if len(str(short)) < 70:
        assert rundir.socket_path().parent == short / "tfgpu-tui"
        assert (short / "tfgpu-tui").stat().st_mode & 0o777 == 0o700
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(long))
    path = rundir.socket_path()
    assert len(os.fsencode(path)) <= rundir.MAX_SOCKET_PATH_BYTES
    assert path.parent.stat().st_uid == os.getuid() and path.parent.stat().st_mode & 0o077 == 0
    rundir.remove_socket(path)


def test_a_socket_folder_that_is_a_link_is_not_trusted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o777)
    (tmp_path / "runtime" / "tfgpu-tui").symlink_to(elsewhere)
    path = rundir.socket_path()
    assert path.parent != tmp_path / "runtime" / "tfgpu-tui"
    rundir.remove_socket(path)


def test_find_by_id_beginning_last_and_path() -> None:
    first, second = make("train.py"), make("other.py")
    rundir.write_meta(second, rundir.read_meta(second)._replace(started=rundir.read_meta(first).started + 1))
    assert rundir.find(first.id) == first
    assert rundir.find("oth") == second
    assert rundir.find("last") == second
    assert rundir.find(str(first.path)) == first
    journal(first, ENDED)
    assert rundir.find(str(first.journal)).journal == first.journal
    assert rundir.find(str(first.meta_path)) == first


def test_what_is_not_found_is_said(tmp_path: Path) -> None:
    with pytest.raises(RunNotFound, match="no runs yet"):
        rundir.find("last")
    make(), make()
    with pytest.raises(RunNotFound, match="any of 2 runs"):
        rundir.find("train")
    with pytest.raises(RunNotFound, match="no run 'nothing'"):
        rundir.find("nothing")
    with pytest.raises(RunNotFound, match="neither"):
        rundir.find(str(tmp_path))
    with pytest.raises(RunNotFound, match="no run at"):
        rundir.find("/no/such/folder")


def test_a_recorded_journal_is_a_run_without_meta(tmp_path: Path) -> None:
    recorded = tmp_path / "recorded.jsonl"
    started = events.RunStarted(t=3.0, id="abc", argv=["t.py", "x"], cwd="/w", python="p", knobs={"a": "b"})
    recorded.write_text(events.encode(started) + "\n")
    run = rundir.find(str(recorded))
    assert run.journal == recorded
    meta = rundir.read_meta(run)
    assert (meta.id, meta.argv, meta.knobs, meta.started) == ("abc", ["t.py", "x"], {"a": "b"}, 3.0)


def test_states_follow_the_journal_and_the_supervisor() -> None:
    run = make()
    assert rundir.summary(run).state == "running", "it may still be starting"
    own = rundir.read_meta(run)._replace(
        supervisor_pid=os.getpid(), supervisor_started=rundir.process_start(os.getpid())
    )
    rundir.write_meta(run, own)
    assert rundir.summary(run).state == "running"
    rundir.write_meta(run, own._replace(supervisor_started=1))
    assert rundir.summary(run).state == "lost", "the pid is somebody else's by now"
    rundir.write_meta(run, own._replace(supervisor_pid=None, started=time.time() - 3600))
    assert rundir.summary(run).state == "lost"
    journal(run, phase(1), ENDED)
    summary = rundir.summary(run)
    assert (summary.state, summary.exit_code, summary.ended) == ("ended", 0, 105.0)
    with run.journal.open("a") as file:
        file.write('{"v":1,"t":1')  # torn
    assert rundir.summary(run).state == "ended"


def test_prune_keeps_the_newest_and_the_running() -> None:
    runs = [make(f"run{number}.py") for number in range(4)]
    for number, run in enumerate(runs):
        rundir.write_meta(run, rundir.read_meta(run)._replace(started=float(number)))
        if number != 0:
            journal(run, ENDED)
    own = rundir.read_meta(runs[0])._replace(
        supervisor_pid=os.getpid(), supervisor_started=rundir.process_start(os.getpid())
    )
    rundir.write_meta(runs[0], own)
    assert [run.id for run in rundir.prune(1)] == [runs[2].id, runs[1].id]
    assert [run.id for run in rundir.list_runs()] == [runs[3].id, runs[0].id]


def test_prune_by_age_and_size() -> None:
    runs = [make(f"run{number}.py") for number in range(5)]
    for number, run in enumerate(runs):
        rundir.write_meta(run, rundir.read_meta(run)._replace(started=time.time() - number * 86400))
        journal(run, ENDED)
        run.output_log.write_bytes(b"x" * 1_000_000)
    assert [run.id for run in rundir.prune(older_than_days=3.5)] == [runs[4].id]
    assert [run.id for run in rundir.prune(total_bytes=2_500_000)] == [runs[2].id, runs[3].id]
    assert rundir.prune(total_bytes=2_500_000) == []
    assert [run.id for run in rundir.list_runs()] == [runs[0].id, runs[1].id]


def test_a_reader_waits_for_the_file_and_for_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with JournalReader(path) as reader:
        assert reader.poll() == []
        line = events.encode(phase(1)) + "\n"
        path.write_text(line + line[:20])
        assert reader.poll() == [phase(1)]
        assert reader.poll() == []
        with path.open("a") as file:
            file.write(line[20:] + '{"type":"of the future","t":1}\nnonsense\n\n')
        assert reader.poll() == [phase(1)]
        assert reader.skipped == 2


def test_a_reader_reads_at_most_the_limit_and_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(events.encode(phase(n)) + "\n" for n in range(50_000)))
    with JournalReader(path) as reader:
        got = reader.poll(7) + reader.poll(0) + reader.poll(30_000)
        assert len(got) == 30_007
        got += reader.poll()
    assert [event.t for event in got] == [float(n) for n in range(50_000)]


def test_a_writer_ends_a_torn_line_first(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writer = JournalWriter(path)
    writer._torn = True  # as after a disk that took half a line
    path.write_text('{"v":1,"t":')
    assert writer.append(phase(2))
    writer.close()
    with JournalReader(path) as reader:
        assert reader.poll() == [phase(2)]


def test_a_writer_counts_what_a_full_disk_refused(tmp_path: Path) -> None:
    (tmp_path / "full").symlink_to("/dev/full")
    writer = JournalWriter(tmp_path / "full")
    assert not writer.append(phase(1))
    assert writer.lost == 1
    writer.close()


def test_an_unwritable_state_folder_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path / "file"))
    with pytest.raises(rundir.StateDirError, match=r"can't be written.*TFGPU_TUI_STATE_DIR"):
        make()
