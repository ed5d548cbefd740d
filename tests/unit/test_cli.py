"""The command line: where the tool's options end, and one clear line with exit status 2 for each mistake."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tfgpu_tui.cli import command_line, table
from tfgpu_tui.cli.arguments import Command, split
from tfgpu_tui.runs import interpreter


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("TFGPU_TUI_PYTHON", "VIRTUAL_ENV", "CONDA_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "train.py").write_text("raise SystemExit('the training was started')")
    (tmp_path / "folder").mkdir()
    yield tmp_path


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("train.py --help -m x", Command([], "run", ["train.py", "--help", "-m", "x"])),
        ("--set a=b --interval=1 t.py -- -x", Command(["--set", "a=b", "--interval=1"], "run", ["t.py", "--", "-x"])),
        ("--headless -m pkg.mod --epochs 3", Command(["--headless"], "run", ["-m", "pkg.mod", "--epochs", "3"])),
        ("-mpkg --x", Command([], "run", ["-m", "pkg", "--x"])),
        ("--python attach train.py", Command(["--python", "attach"], "run", ["train.py"])),
        ("-- attach", Command([], "run", ["attach"])),
        ("./attach now", Command([], "run", ["./attach", "now"])),
        ("attach last", Command([], "attach", ["last"])),
        ("run train.py", Command([], "run", ["train.py"])),
        ("--ascii attach", Command(["--ascii"], "attach", [])),
        ("t.py runs", Command([], "run", ["t.py", "runs"])),
        ("", Command([], "run", [])),
        ("-u train.py -u", Command([], "run", ["train.py", "-u"], ["-u"])),
        ("-u --plain -X dev -Wi t.py", Command(["--plain"], "run", ["t.py"], ["-u", "-X", "dev", "-Wi"])),
        ("-OOum pkg -x", Command([], "run", ["-m", "pkg", "-x"], ["-OOu"])),
        ("-B -c 1 --headless", Command([], "run", ["-c", "1", "--headless"], ["-B"])),
        ("-cpass", Command([], "run", ["-c", "pass"])),
        ("--check-hash-based-pycs never t.py", Command([], "run", ["t.py"], ["--check-hash-based-pycs", "never"])),
        ("-W attach t.py", Command([], "run", ["t.py"], ["-W", "attach"])),
        ("-u -- -x", Command([], "run", ["-x"], ["-u"])),
    ],
)
def test_split(line: str, expected: Command) -> None:
    assert split(line.split()) == expected


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("none.py", "there is no script none.py"),
        ("folder", "folder is a folder without a __main__.py"),
        ("-c", "-c needs code"),
        ("-u", "which script?"),
        ("-u runs", "-u is for running a script, not for `runs`"),
        ("-n train.py", "unrecognized arguments: -n"),
        ("-", "a script needs a file"),
        ("--stop-after 99999999999999999999 train.py", "at most"),
        ("--config folder train.py", "config"),
        ("--headless", "which script?"),
        ("-m", "-m needs a module"),
        ("--bogus train.py", "unrecognized arguments: --bogus"),
        ("--head train.py", "unrecognized arguments: --head"),
        ("--set growth=on train.py", "no knob 'growth'"),
        ("--set memory_growth=maybe train.py", "it can be script, on, off"),
        ("--set memory_growth train.py", "KNOB=VALUE"),
        ("--stop-after 0 train.py", "--stop-after 0: give a whole number"),
        ("--stop-after -5 train.py", "--stop-after -5: give a whole number"),
        ("--stop-after 1e3 train.py", "--stop-after 1e3"),
        ("--stall-after soon train.py", "--stall-after: 'soon' is no number"),
        ("--stall-after -1 train.py", "outside 0 to"),
        ("--interval x train.py", "--interval: 'x' is no number"),
        ("--interval 0.01 train.py", "outside 0.1 to 60"),
        ("--python /no/python train.py", "--python /no/python: there is no such file"),
        ("--python no-such-python train.py", "no such command on PATH"),
        ("--python folder/ train.py", "this is a folder"),
        ("--python ./train.py train.py", "not executable"),
        ("--config none.toml train.py", "no configuration file"),
        ("--report-json folder train.py", "--report-json folder: this is a folder"),
        ("--report-json no/such/place.json train.py", "there is no folder"),
        ("--headless runs", "--headless is for running a script, not for `runs`"),
        ("attach nothing", "no run 'nothing'"),
        ("attach", "there are no runs yet"),
        ("stop", "required: RUN"),
        ("stop last", "there are no runs yet"),
        ("report a b", "unrecognized arguments: b"),
        ("compare last", "required: RUN"),
        ("replay last --speed x", "invalid float value"),
    ],
)
def test_mistakes_are_one_line_and_nothing_starts(
    line: str, words: str, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(line.split()) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert words in err and err.startswith("tfgpu-tui: ") and err.count("\n") == 1
    assert not (folder / "state").exists(), "no run was made"


def test_an_unwritable_state_folder_is_a_mistake(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", "/proc/no-such-place")
    assert command_line.main(["--headless", "--python", sys.executable, "train.py"]) == 2
    assert "set TFGPU_TUI_STATE_DIR" in capfd.readouterr().err


def test_help_is_for_a_newcomer(capfd: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--help"]) == 0
    out = capfd.readouterr().out
    assert out.index("tfgpu-tui train.py") < out.index("options:")
    for verb in table.VERBS:
        assert f"tfgpu-tui {verb}" in out
    options = ("headless", "report-json", "set", "list-knobs", "python", "stop-after", "interval", "config", "plain")
    for option in (*options, "stall-after", "ascii", "theme", "version"):
        assert f"--{option}" in out
    assert max(map(len, out.splitlines())) <= 120


@pytest.mark.parametrize("columns", [80, 100])
def test_help_fits_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    assert command_line.main(["--help"]) == 0
    out = capfd.readouterr().out
    assert max(map(len, out.splitlines())) <= columns
    for words in ("own options stand before it", "a training that waits for its input"):
        assert words in " ".join(out.split())


def test_list_knobs(capfd: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["--list-knobs"]) == 0
    assert "memory_growth" in capfd.readouterr().out


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_the_active_environments_python_is_chosen(tmp_path: Path) -> None:
    venv, conda, path = (executable(tmp_path / name / "bin" / "python") for name in ("venv", "conda", "usr"))
    environ = {
        "VIRTUAL_ENV": str(tmp_path / "venv"),
        "CONDA_PREFIX": str(tmp_path / "conda"),
        "PATH": str(path.parent),
    }
    tool = ("/the/tools/own", str(tmp_path / "tool"))
    assert interpreter.choose(None, environ, *tool) == str(venv)
    del environ["VIRTUAL_ENV"]
    assert interpreter.choose(None, environ, *tool) == str(conda)
    del environ["CONDA_PREFIX"]
    assert interpreter.choose(None, environ, *tool) == str(path)
    executable(tmp_path / "usr" / "bin" / "python3")
    assert interpreter.choose(None, environ, *tool) == str(tmp_path / "usr" / "bin" / "python3")
    assert interpreter.choose(None, {"PATH": ""}, *tool) == "/the/tools/own"


def test_the_tools_own_environment_serves_when_it_has_tensorflow(tmp_path: Path) -> None:
    own = executable(tmp_path / "env" / "bin" / "python3")
    system = executable(tmp_path / "usr" / "bin" / "python3")
    package = tmp_path / "env" / "lib" / "python3.11" / "site-packages" / "tensorflow"
    package.mkdir(parents=True)
    environ = {"PATH": str(system.parent)}
    assert interpreter.choose(None, environ, str(own), str(tmp_path / "env")) == str(system)
    (package / "__init__.py").touch()
    assert interpreter.choose(None, environ, str(own), str(tmp_path / "env")) == str(own)


def test_a_stale_environment_is_said(tmp_path: Path) -> None:
    with pytest.raises(interpreter.InterpreterError, match=r"VIRTUAL_ENV is .*activate again"):
        interpreter.choose(None, {"VIRTUAL_ENV": str(tmp_path / "gone"), "PATH": os.defpath})


@pytest.mark.parametrize(
    "prefix", ["home/.local/share/pipx/venvs/tfgpu-tui", "home/.local/share/uv/tools/tfgpu-tui", "uv/archive-v0/x"]
)
def test_the_tools_private_environment_is_never_chosen(tmp_path: Path, prefix: str) -> None:
    own = executable(tmp_path / prefix / "bin" / "python3")
    system = executable(tmp_path / "usr" / "bin" / "python3")
    environ = {
        "VIRTUAL_ENV": str(tmp_path / prefix),
        "PATH": f"{own.parent}{os.pathsep}{system.parent}",
    }
    assert interpreter.choose(None, environ, str(own), str(tmp_path / prefix)) == str(system)
    with pytest.raises(interpreter.InterpreterError, match="say which one with --python"):
        interpreter.choose(None, {"PATH": str(own.parent)}, str(own), str(tmp_path / prefix))
