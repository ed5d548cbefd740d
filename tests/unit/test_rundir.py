"""Run folders and journals: found by any sensible name, safe from others, readable while they grow or are torn."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfgpu_tui.cli import command_line
from tfgpu_tui.core import events
from tfgpu_tui.runs import alive, listing, liveness, pruning, rundir
from tfgpu_tui.runs import journal as journals
from tfgpu_tui.runs import meta as metas
from tfgpu_tui.runs.rundir import JournalReader, JournalWriter, RunDir, RunNotFound
from tfgpu_tui.supervisor import launch

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
    assert listing.summary(run).state == "running", "it may still be starting"
    own = rundir.read_meta(run)._replace(
        supervisor_pid=os.getpid(), supervisor_started=rundir.process_start(os.getpid())
    )
    rundir.write_meta(run, own)
    assert listing.summary(run).state == "running"
    rundir.write_meta(run, own._replace(supervisor_started=1))
    assert listing.summary(run).state == "lost", "the pid is somebody else's by now"
    rundir.write_meta(run, own._replace(supervisor_pid=None, started=time.time() - 3600))
    assert listing.summary(run).state == "lost"
    journal(run, phase(1), ENDED)
    summary = listing.summary(run)
    assert (summary.state, summary.exit_code, summary.ended) == ("ended", 0, 105.0)
    with run.journal.open("a") as file:
        file.write('{"v":1,"t":1')  # torn
    assert listing.summary(run).state == "ended"


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
    assert [run.id for run in pruning.prune(1)] == [runs[2].id, runs[1].id]
    assert [run.id for run in listing.list_runs()] == [runs[3].id, runs[0].id]


def lost(script: str = "lost.py", **changed: Any) -> RunDir:
    """A run that was started long ago, whose processes are gone, and whose journal has no end."""
    run = make(script)
    meta = rundir.read_meta(run)._replace(started=time.time() - 3600, keeper_pid=2**22 + 1, keeper_started=1)
    rundir.write_meta(run, meta._replace(**changed))
    journal(run, phase(1))
    return run


ELSEWHERE = {"host": "gpu7", "boot_id": "other"}
CONTAINER = {"pid_namespace": "pid:[4026532999]"}
NOT_SAID = {"host": "", "boot_id": "", "pid_namespace": ""}


@pytest.mark.parametrize(
    ("changed", "expected", "words"),
    [
        ({}, "lost", ""),
        (ELSEWHERE, "elsewhere", "runs on gpu7: ssh -t gpu7 tfgpu-tui attach lost-"),
        ({**ELSEWHERE, "host": "gpu7; rm x"}, "elsewhere", "runs on gpu7; rm x"),
        ({"boot_id": "other"}, "elsewhere", "runs on "),  # it was written to after this one was started
        (CONTAINER, "elsewhere", "another container of this machine"),
        (NOT_SAID, "unknown", "does not say on which machine"),
    ],
)
def test_what_is_not_proved_dead_is_never_deleted(changed: dict[str, str], expected: str, words: str) -> None:
    run = lost(**changed)
    assert listing.summary(run).state == expected and words in listing.summary(run).note
    left: list[pruning.NotDeleted] = []
    deleted = [run.id for run in pruning.prune(0, on_left=left.append)]
    assert deleted == ([run.id] if expected == "lost" else [])
    if expected != "lost":
        assert words in str(left[0]) and f"rm -r {run.path}" in str(left[0]) and not left[0].tried
        journal(run, ENDED)
        assert [run.id for run in pruning.prune(0)] == [run.id], "an end that was written is one, wherever it ran"


def silent(run: RunDir, seconds: float) -> RunDir:
    """The same run, to which nothing was written for so long."""
    for path in run.path.iterdir():
        os.utime(path, (time.time() - seconds, time.time() - seconds))
    return run


def test_a_shell_sees_no_host_that_is_none() -> None:
    assert "ssh" not in listing.summary(lost(**{**ELSEWHERE, "host": "gpu7; rm x"})).note


@pytest.mark.parametrize("changed", [{"host": "gpu7", "boot_id": "other"}, CONTAINER])
def test_what_is_elsewhere_goes_on_while_its_files_do(changed: dict[str, str]) -> None:
    run = silent(lost(**changed), 3600)
    assert not listing.summary(run).goes_on and not listing.goes_on(run) and listing.away(run, "attach") is None
    assert "can't be seen from here" in listing.summary(run).note
    alive.touch(run.path)
    assert listing.summary(run).goes_on and listing.goes_on(run)
    assert "tfgpu-tui stop " in str(listing.away(run, "stop"))
    assert listing.as_json(listing.summary(run))["goes_on"] is True
    with pytest.raises(launch.ControlError, match=f"tfgpu-tui stop {run.id}"):
        launch.stop(run)
    journal(run, ENDED)
    assert listing.summary(run).state == "ended" and listing.away(run, "attach") is None


def test_what_is_elsewhere_is_deleted_only_after_a_day_of_silence() -> None:
    run = silent(lost(**ELSEWHERE), pruning.SILENT_S - 60)
    assert pruning.prune(0) == []
    silent(run, pruning.SILENT_S + 60)
    assert [run.id for run in pruning.prune(0)] == [run.id]


def test_silence_is_measured_by_the_file_servers_clock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """This host's clock is an hour ahead of the server's, which stamps both files."""
    alive.touch(tmp_path)
    alive._ahead_s.cache_clear()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    assert alive.silent_s(tmp_path, rundir.last_written(tmp_path / alive.NAME)) < 60
    alive._ahead_s.cache_clear()


def test_a_reboot_ended_what_ran_before_it() -> None:
    run = lost(boot_id="the one before")
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    for path in run.path.iterdir():
        os.utime(path, (booted - 60, booted - 60))
    assert listing.summary(run).state == "lost"
    assert [run.id for run in pruning.prune(0)] == [run.id]


def test_pids_of_another_place_mean_nothing_here() -> None:
    mine: dict[str, Any] = {"supervisor_pid": os.getpid(), "supervisor_started": rundir.process_start(os.getpid())}
    assert listing.summary(lost(**mine)).state == "running"
    far = lost(**mine, **CONTAINER)
    assert listing.summary(far).state == "elsewhere"
    with pytest.raises(launch.ControlError, match=f"{far.id} runs in another container of this machine"):
        launch.stop(far)
    with pytest.raises(launch.ControlError, match=f"{far.id} can't be reached: it was started in another container"):
        launch.stop(silent(far, 3600))
    assert metas.here().boot_id and metas.here().pid_namespace and liveness.is_running(rundir.read_meta(lost(**mine)))


def test_a_run_that_could_not_write_its_pids_is_seen_by_its_open_files() -> None:
    run = lost(keeper_pid=None)
    with run.journal.open("a"):
        left: list[pruning.NotDeleted] = []
        assert pruning.prune(0, on_left=left.append) == [] and f"process {os.getpid()}" in str(left[0])
    assert [run.id for run in pruning.prune(0)] == [run.id]


NOT_A_META = {
    "empty": b"", "null": b"null", "a list": b"[]", "deep": b"[" * 100_000, "no argv": b'{"id":"x"}',
    "binary": b"\xff\0", "large": b" " * (metas.LARGEST_BYTES + 1),
}  # fmt: skip
WRONG: list[tuple[str, Any]] = [
    ("started", "soon"), ("started", None), ("started", float("nan")), ("started", 1e300), ("started", -1.0),
    ("started", True), ("started", []),
    ("argv", "train.py"), ("argv", [1]), ("argv", {}), ("cwd", 7), ("python", "a\0b"), ("knobs", {"a": 1}),
    ("script_pid", "1"), ("script_pid", -1), ("script_pid", 1.5), ("socket", ["x"]), ("columns", "80"), ("mode", []),
]  # fmt: skip


@pytest.mark.parametrize("data", NOT_A_META.values(), ids=NOT_A_META.keys())
def test_a_broken_meta_breaks_its_own_run_only(data: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    good, broken = make("good.py"), make("broken.py")
    journal(good, ENDED)
    broken.meta_path.write_bytes(data)
    alone(good, broken, capsys)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_meta_with_a_value_of_a_wrong_type_is_broken(
    name: str, value: object, capsys: pytest.CaptureFixture[str]
) -> None:
    good, broken = make("good.py"), make("broken.py")
    journal(good, ENDED)
    broken.meta_path.write_text(json.dumps({**rundir.read_meta(broken)._asdict(), name: value}))
    alone(good, broken, capsys)
    with pytest.raises(ValueError, match=f"its {name} is"):
        metas.parse(json.dumps({**rundir.read_meta(good)._asdict(), name: value}).encode())


@pytest.mark.parametrize("what", ["fifo", "device", "nowhere", "folder"])
@pytest.mark.parametrize("where", ["meta.json", "journal.jsonl"])
def test_what_is_no_file_is_neither_waited_for_nor_read(
    what: str, where: str, capsys: pytest.CaptureFixture[str]
) -> None:
    good, broken = make("good.py"), make("broken.py")
    journal(good, ENDED)
    rundir.write_meta(broken, rundir.read_meta(broken)._replace(started=1.0, keeper_pid=2**22 + 1, keeper_started=1))
    path = broken.path / where
    path.unlink(missing_ok=True)
    if what == "fifo":
        os.mkfifo(path)
    elif what == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero" if what == "device" else "/no/such/file")
    alone(good, broken, capsys, expected="lost" if where == "journal.jsonl" else "broken")


def alone(good: RunDir, broken: RunDir, capsys: pytest.CaptureFixture[str], expected: str = "broken") -> None:
    """The broken one is listed and refused in one line, the good one is `last`; only the broken one goes."""
    assert {run.id: run.state for run in listing.list_runs()} == {good.id: "ended", broken.id: expected}
    assert rundir.find("last") == good
    assert command_line.main(["runs", "--json"]) == command_line.main(["runs"]) == 0
    assert broken.id in capsys.readouterr().out
    assert command_line.main(["report", broken.id]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert command_line.main(["prune", "--keep", "1"]) == 0
    assert f"deleted {broken.id}" in capsys.readouterr().out, "it goes before any other"
    assert [run.id for run in listing.list_runs()] == [good.id]


def test_a_broken_run_that_is_written_to_stays() -> None:
    run = make()
    journal(run, phase(1))
    run.meta_path.write_text("")
    assert pruning.prune(0) == []
    os.utime(run.journal, (1.0, 1.0))
    assert [run.id for run in pruning.prune(0)] == [run.id]


def test_times_that_are_still_to_come_push_out_nothing() -> None:
    real, future = make("real.py"), make("future.py")
    for run in (real, future):
        journal(run, ENDED)
    rundir.write_meta(future, rundir.read_meta(future)._replace(started=time.time() + 1e6))
    assert rundir.find("last") == real
    assert [run.id for run in pruning.prune(1)] == [future.id]


@pytest.mark.parametrize(
    "words",
    [["runs", "--prune", "-5"], ["prune", "--keep", "-1"], ["prune", "--older-than", "nan"],
     ["prune", "--total-size", f"{'9' * 400}G"]],
)  # fmt: skip
def test_numbers_that_make_no_sense_delete_nothing(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    run = make()
    journal(run, ENDED)
    assert command_line.main(words) == 2
    assert capsys.readouterr().err.count("\n") == 1 and run.path.exists()


def test_what_could_not_be_deleted_is_not_called_deleted(capsys: pytest.CaptureFixture[str], undeletable: Path) -> None:
    run = rundir.RunDir(undeletable)
    assert command_line.main(["prune", "--keep", "0"]) == 2
    said = capsys.readouterr()
    assert f"deleted {run.id}" not in said.out and f"{run.id} can't be deleted: {run.path}" in said.err
    assert "1 runs are left" in said.out


@pytest.fixture
def undeletable(state: Path) -> Iterator[Path]:
    """A run in a folder that gives up no file, also to root."""
    run = make()
    journal(run, ENDED)
    if os.geteuid() != 0:
        run.path.chmod(0o500)
    elif subprocess.run(["mount", "--bind", run.path, run.path], capture_output=True).returncode != 0:
        pytest.skip("root may not mount here, and modes do not stop root")
    else:
        subprocess.run(["mount", "-o", "remount,ro,bind", run.path], check=True)
    yield run.path
    if os.geteuid() == 0:
        subprocess.run(["umount", "-l", run.path], check=True)
    run.path.chmod(0o700)


def test_only_a_folder_of_ours_is_ours(state: Path, tmp_path: Path) -> None:
    run = make()
    journal(run, ENDED)
    assert rundir.is_ours(run)
    run.path.chmod(0o770)
    assert not rundir.is_ours(run) and pruning.prune(0) == []
    assert [(found.ours, found.note) for found in listing.list_runs()] == [(False, "others can write to it")]
    run.path.chmod(0o700)
    run.meta_path.chmod(0o666)
    assert not rundir.is_ours(run)
    run.meta_path.chmod(0o600)
    moved = run.path.rename(tmp_path / run.id)
    assert not rundir.is_ours(RunDir(moved)), "not where runs are kept"
    run.path.symlink_to(moved)
    assert not rundir.is_ours(run) and pruning.prune(0) == [] and moved.exists(), "a link"
    run.path.unlink()
    moved.rename(run.path)
    assert rundir.is_ours(run)
    for folder in (state, state / "runs"):
        folder.chmod(0o777)
        assert not rundir.is_ours(run)
        for use in (make, listing.list_runs):
            with pytest.raises(rundir.StateDirError, match="others can write to it"):
                use()
        folder.chmod(0o700)


def test_each_folder_that_is_made_is_for_this_user_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path / "a" / "b" / "state"))
    before = os.umask(0)
    try:
        run = make()
    finally:
        os.umask(before)
    while run.path != tmp_path:
        assert run.path.stat().st_mode & 0o777 == 0o700
        run = RunDir(run.path.parent)


def test_the_usual_place_that_an_old_umask_left_open_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TFGPU_TUI_STATE_DIR")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = make().path.parent.parent
    folder.chmod(0o775)
    assert rundir.is_ours(make()) and folder.stat().st_mode & 0o777 == 0o755


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder whose name leaves room for a socket's: such a path holds 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.mark.usefixtures("runtime")
def test_a_socket_that_a_file_names_is_removed_only_where_it_may_be_one_of_ours(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("data")
    own = rundir.socket_path()
    other = own.with_name("0123456789ab.sock")
    other.write_text("no socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(own))
        for path in (precious, other, own.parent / ".." / "tfgpu-tui" / own.name):
            pruning.delete(lost(socket=str(path)))
        assert precious.exists() and other.exists() and own.exists()
        assert rundir.same_or_new_socket_path(precious).parent == own.parent
        pruning.delete(lost(socket=str(own)))
        assert not own.exists()


def test_no_name_that_can_be_foreseen_is_written_to(tmp_path: Path) -> None:
    """Links wait under the names that were written to once, and under what stands there now."""
    run, outside = make(), tmp_path / "outside"
    outside.write_text("precious")
    (run.path / f".meta.{os.getpid()}").symlink_to(outside)
    run.meta_path.unlink()
    run.meta_path.symlink_to(outside)
    rundir.write_meta(run, metas.Meta(id=run.id, argv=["x"], cwd="/", python="p"))
    assert outside.read_text() == "precious" and not run.meta_path.is_symlink()
    assert rundir.read_meta(run).argv == ["x"]


def test_prune_by_age_and_size() -> None:
    runs = [make(f"run{number}.py") for number in range(5)]
    for number, run in enumerate(runs):
        rundir.write_meta(run, rundir.read_meta(run)._replace(started=time.time() - number * 86400))
        journal(run, ENDED)
        run.output_log.write_bytes(b"x" * 1_000_000)
    assert [run.id for run in pruning.prune(older_than_days=3.5)] == [runs[4].id]
    assert [run.id for run in pruning.prune(total_bytes=2_500_000)] == [runs[2].id, runs[3].id]
    assert pruning.prune(total_bytes=2_500_000) == []
    assert [run.id for run in listing.list_runs()] == [runs[0].id, runs[1].id]


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


def test_a_line_without_end_costs_neither_memory_nor_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    line = events.encode(phase(1)).encode() + b"\n"
    with path.open("wb") as file:
        file.write(line)
        for _ in range(60):
            file.write(b"x" * (1 << 20))
        file.write(b"\n" + line)
    code = (
        "import resource, sys, time; from pathlib import Path; from tfgpu_tui.runs.journal import JournalReader\n"
        "from tfgpu_tui.core import validate; reader = JournalReader(Path(sys.argv[1]))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(len(reader.poll()), reader.skipped, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=180)
    read, skipped, kib = map(int, done.stdout.split())
    assert (read, skipped) == (2, 1)
    assert kib < 60 * 1024


def test_lines_that_do_not_fit_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    good = events.encode(phase(1))
    bad = [
        '{"t":1,"type":"steps","steps":"many"}',
        '{"t":1,"type":"host_sample","cores_percent":[1,"x"]}',
        '{"t":1,"type":"gpu_sample","gpus":[{"index":0,"busy_percent":{"a":1}}]}',
        '{"t":NaN,"type":"phase","phase":"x"}',
        '{"t":1e300,"type":"phase","phase":"x"}',
        '{"t":1,"type":"host_sample","cpu_percent":1e308}',
        '{"t":1,"type":[]}',
        '{"t":1,"type":"phase","phase":' + "[" * 100_000,
        '{"t":1,"type":"dataset","kind":"x","elements":[{"shape":' + "[" * 100 + "]" * 100 + "}]}",
        '{"t":1,"type":"host_sample","processes":' + "9" * 5000 + "}",
    ]
    path.write_text("\n".join([good, *bad, good, '{"t":2,"type":"phase","phase":"\\ud800"}', ""]))
    with JournalReader(path) as reader:
        got = reader.poll()
        assert reader.skipped == len(bad)
    assert got[:2] == [phase(1), phase(1)] and got[2] == events.Phase(t=2, phase="\ufffd")
    path.write_text("\n".join([good, *bad[:6], ""]))
    assert journals.last_event(path) == phase(1)


def test_room_is_kept_back_for_the_last_event(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    writer = JournalWriter(path, keep_back=True)
    assert writer.append(phase(1))
    with JournalReader(path) as reader:
        assert reader.poll() == [phase(1)] and reader.poll() == []
        assert writer.append_at_end([events.Dropped(t=104.0, count=3), ENDED])
        writer.close()
        assert [type(event) for event in reader.poll()] == [events.Dropped, events.RunEnded]
        assert reader.poll() == []
    assert journals.last_event(path) == ENDED
    unused = JournalWriter(tmp_path / "other.jsonl", keep_back=True)
    unused.close()
    assert sorted(os.listdir(tmp_path)) == ["journal.end", "journal.jsonl", "other.jsonl", "runtime"]


def test_an_end_that_was_rolled_is_found(tmp_path: Path) -> None:
    run = lost()
    journal(run, ENDED)
    run.journal.rename(journals.part_path(run.journal, 1, ".jsonl"))
    run.journal.touch()
    assert listing.summary(run).state == "ended"
