"""Where --report-json points: files, links to them, pipes, descriptors, devices, and what must not be overwritten."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.process.conftest import Workplace
from tfgpu_tui.supervisor import report_file
from tfgpu_tui.supervisor.report_file import descriptor_of, write_report

REPORT = {"schema": 1, "long": "x" * 200_000}


def test_a_link_is_written_through_and_keeps_the_mode(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "report.json"
    target.write_text("old")
    target.chmod(0o640)
    link, dangling = tmp_path / "latest.json", tmp_path / "new.json"
    link.symlink_to(target)
    dangling.symlink_to(tmp_path / "real" / "made.json")
    for path in (link, dangling):
        write_report(REPORT, path)
        assert path.is_symlink() and json.loads(path.read_text()) == REPORT
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "real" / "made.json").stat().st_mode) == 0o666 & ~umask
    assert sorted(entry.name for entry in (tmp_path / "real").iterdir()) == ["made.json", "report.json"]


def test_a_file_with_two_names_keeps_both(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("old" * 100_000)
    two.hardlink_to(one)
    write_report(REPORT, one)
    assert json.loads(two.read_text()) == REPORT and one.stat().st_nlink == 2


def test_a_file_in_a_folder_that_takes_no_new_one() -> None:
    """As it is mounted into a container: by itself, or in a folder of somebody else's."""
    with tempfile.TemporaryDirectory(prefix="tt-", dir="/tmp") as folder:  # below a folder that another user may enter
        _write_there(Path(folder))


def _write_there(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_text("old" * 100_000)
    code = (
        "import os, sys, pathlib\nfrom tfgpu_tui.supervisor.report_file import write_report\n"
        "os.chmod(sys.argv[1], 0o666); os.chmod(os.path.dirname(sys.argv[1]), 0o555)\n"
        "if os.geteuid() == 0: os.chown(sys.argv[1], 65534, -1); os.setegid(65534); os.seteuid(65534)\n"
        "write_report({'schema': 1}, pathlib.Path(os.path.basename(sys.argv[1])))\n"
    )
    tmp_path.chmod(0o755)
    subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=tmp_path, check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    tmp_path.chmod(0o755)
    assert json.loads(target.read_text()) == {"schema": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


def test_a_report_that_can_not_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "report.json"
    target.write_text("old")
    with pytest.raises(ValueError, match="JSON"):
        write_report({"loss": float("nan")}, target)
    with pytest.raises(OSError, match="No space"):
        write_report(REPORT, Path("/dev/full"))
    assert target.read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_a_pipe_is_written_whole_or_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_report(REPORT, pipe)
    reader.join(60)
    assert json.loads(read[0]) == REPORT and stat.S_ISFIFO(pipe.stat().st_mode)
    monkeypatch.setattr(report_file, "PATIENCE_S", 0.2)
    with pytest.raises(OSError, match="nobody reads from this pipe"):
        write_report(REPORT, pipe)
    silent = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pytest.raises(OSError, match="nobody reads on"):
        write_report(REPORT, pipe)
    os.close(silent)


def test_the_descriptors_of_the_caller(place: Workplace) -> None:
    """Behind what the script wrote to its stdout, whatever that is; `>(jq …)` of a shell is a `/dev/fd/N`."""
    assert descriptor_of("/dev/stdout") == 1  # not tried by that name, which a mistake could replace
    script = place.script("print('trained')")
    out = place.folder / "out"
    with out.open("w") as file:
        command = place.command("--headless", "--report-json", "/proc/self/fd/1", script)
        subprocess.run(command, stdout=file, stderr=subprocess.DEVNULL, cwd=place.folder, env=place.env, check=True)
    first, _, rest = out.read_text().partition("\n")
    assert first == "trained" and json.loads(rest)["schema"] == 1
    ours, theirs = os.pipe()
    command = place.command("--headless", "--report-json", f"/dev/fd/{theirs}", script)
    done = subprocess.run(command, pass_fds=[theirs], capture_output=True, cwd=place.folder, env=place.env)
    os.close(theirs)
    with open(ours) as pipe:
        assert json.loads(pipe.read())["schema"] == 1
    assert done.returncode == 0 and done.stdout == b"trained\n"


def test_what_the_run_reads_is_not_overwritten(place: Workplace) -> None:
    """Refused before the script is started, also under another name."""
    script = place.script("print('ran')")
    (place.folder / "data.csv").write_text("1,2")
    (place.folder / "same.json").symlink_to(script)
    (place.folder / "package").mkdir()
    (place.folder / "package" / "__main__.py").write_text("print('ran')")
    (place.folder / "loop").symlink_to("loop")
    settings = place.folder / "settings.toml"
    settings.write_text("")
    refused = {
        "script.py": "which the run reads",
        "same.json": "which the run reads",
        "data.csv": "which the run reads",
        str(settings): "which the run reads",
        "loop": "can't be written",
        "/dev/fd/77": "can't be written",
    }
    for target, why in refused.items():
        done = place.tool("--config", settings, "--headless", "--report-json", target, "script.py", "data.csv")
        assert (done.returncode, done.stdout) == (2, b"") and why in done.stderr.decode(), target
    done = place.tool("--report-json", "package/__main__.py", "-m", "package")
    assert done.returncode == 2 and "which the run reads" in done.stderr.decode()
    assert script.read_text() == "print('ran')" and place.runs() == []
