"""`tfgpu-tui demo`: each demo and recording is told in a line; what an interpreter lacks is found; files are copied."""

from __future__ import annotations

import os
import sys
import venv
from pathlib import Path

import pytest

from tfgpu_tui.cli import command_line, demos, starting
from tfgpu_tui.runs import files


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "state"


@pytest.fixture(scope="module")
def bare_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter without packages."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, symlinks=True, with_pip=False)
    return str(folder / "bin" / "python")


def test_each_demo_and_each_recording_is_told() -> None:
    scripts, recordings = demos.scripts(), demos.recordings()
    assert len(scripts) > 30 and all(10 < len(words) < 110 for words in scripts.values())
    assert len(recordings) > 10 and all(recordings.values()), "a recording without a row in its README"
    assert demos.FIRST in scripts and set(demos.RECORDED) <= set(scripts)
    assert set(demos.RECORDED.values()) <= set(recordings)
    assert "digits" not in scripts and not set(scripts) & set(recordings)
    for width in (60, 80, 200):
        assert max(map(len, demos.listing(width).splitlines()[1:])) <= max(width, 60)


def test_what_an_interpreter_lacks_is_found(bare_python: str) -> None:
    assert demos.missing("slow_map", bare_python) == ["tensorflow", "PIL", "sklearn"]
    assert demos.missing("no_training", bare_python) == ["tensorflow"]
    assert demos.missing("slow_map", sys.executable) == []
    assert demos.missing("slow_map", "/there/is/none") == []


def test_without_tensorflow_the_recording_is_told_and_said(bare_python: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["demo", "--python", bare_python]) == 0
    said = capfd.readouterr().out
    assert said.startswith(f"slow_map.py needs what {bare_python} does not have (pip install tensorflow")
    assert "this is a recording of such a run" in said and "input wait 83 %" in said


def test_a_demo_without_a_recording_says_what_it_needs(bare_python: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["demo", "retracing", "--python", bare_python]) == 2
    assert "there is no recording of it, but of slow_map" in capfd.readouterr().err
    assert command_line.main(["demo", "nonesuch"]) == 2
    assert "there is no demo nonesuch" in capfd.readouterr().err


def test_a_recording_by_its_name(capfd: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["demo", "eight-gpus-one-used"]) == 0
    assert "SIMULATED GPU" in capfd.readouterr().out


def test_a_demo_runs_in_a_copy_of_the_users_own(
    own_state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[object, ...]] = []

    def run(options: object, words: list[str], python: list[str]) -> int:
        ran.append((words, os.getcwd(), getattr(options, "report_json", None), getattr(options, "set", None)))
        return 0

    monkeypatch.setattr(starting, "run", run)
    old = own_state / "demo" / "slow_map.py"
    files.make_private(old.parent)
    old.write_text("of an older version")
    line = ["--set", "profile=5", "demo", "slow_map", "3", "--python", sys.executable, "--report-json", "r.json"]
    assert command_line.main(line) == 0
    assert ran == [(["slow_map.py", "3"], str(own_state / "demo"), str(tmp_path / "r.json"), ["profile=5"])]
    assert old.read_bytes() == (demos.source() / "slow_map.py").read_bytes()
    assert (own_state / "demo" / "digits.py").is_file()


def test_another_users_copy_is_not_run(own_state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = own_state / "demo"
    files.make_private(folder)
    folder.chmod(0o777)
    assert command_line.main(["demo", "--python", sys.executable]) == 2
    assert "others can write to it" in capfd.readouterr().err
