"""Nonsense on the command line: whatever is typed, one sentence and a known exit status; never a traceback, no hang."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfgpu_tui.cli import command_line, managing, mishap
from tfgpu_tui.core import knobs
from tfgpu_tui.runs import configuration, rundir, sockets
from tfgpu_tui.supervisor import launch

ROOT = Path(__file__).parents[2]
RECORDING = ROOT / "demo" / "recordings" / "script-failed.jsonl"
RUN_OPTIONS = ["--report-json", "--set", "--python", "--stop-after", "--interval", "--config", "--theme",
               "--on-finding-severity", "--metrics", "--stall-after"]  # fmt: skip
VERB_OPTIONS = {
    "attach": ["--interval", "--config", "--theme"],
    "runs": ["--prune"],
    "prune": ["--keep", "--older-than", "--total-size"],
    "stop": ["--stage"],
    "replay": ["--speed", "--at", "--size", "--interval", "--config", "--theme"],
    "report": ["--html", "--tensorboard"],
    "compare": ["--size", "--fail-if", "--interval", "--config", "--theme"],
    "exporter": ["--metrics"],
    "doctor": ["--python"],
}
RUNS = {"attach": 1, "stop": 1, "replay": 1, "report": 1, "compare": 2, "exporter": 1}
"""How many runs a verb wants."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with every kind of file that is none; no state, no home, no terminal."""
    folder = tmp_path_factory.mktemp("nonsense")
    (folder / "train.py").write_text("raise SystemExit('the training was started')")
    (folder / "folder").mkdir()
    (folder / "run" / "journal.jsonl").mkdir(parents=True)
    (folder / "piped").mkdir()
    os.mkfifo(folder / "fifo")
    os.mkfifo(folder / "piped" / "meta.json")
    os.mkfifo(folder / "piped" / "journal.jsonl")
    (folder / "echo").write_text("#!/bin/sh\nprintf '%0100000d' 0 | tr 0 '['\n")
    (folder / "echo").chmod(0o700)
    (folder / "text").write_text("no program, no journal, no configuration\n")
    (folder / "binary").write_bytes(b"\xff\x00\xfe" * 99)
    (folder / "deep.toml").write_text("x = " + "[" * 5000)
    (folder / "deep.jsonl").write_text("[" * 200_000 + "\n")
    (folder / "nul.toml").write_text('python = "a\\u0000b"\n')
    (folder / "huge.toml").write_text(f"interval = {'9' * 400}")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("TFGPU_TUI_")]:
            patch.delenv(name)
        patch.setenv("TFGPU_TUI_STATE_DIR", str(folder / "state"))
        patch.setenv("XDG_CONFIG_HOME", str(folder / "config"))
        # Where everything that was typed is right after all, no script is started.
        patch.setattr(launch, "create", _refused)
        yield folder


def _refused(*arguments: object) -> rundir.RunDir:
    raise rundir.StateDirError("the test starts nothing")


NUMBERS = ["", " ", "-1", "0", "1e400", "nan", "inf", "-inf", "1e-9", "1_0", "²", "٣", "9" * 400, "9" * 5000, "0x10"]
WORDS = ["\n", "\x1b[2J", "\udcff\udc80", "--", "-", "=", "a=b", "%s", "{}", "a" * 300, "a/" * 3000, "~nobody-here/x"]
PLACES = ["folder", "fifo", "text", "binary", "deep.toml", "huge.toml", "./run", "./piped", "no/such", "train.py/x",
          "/dev/null", "/", ".", "last", "0x0", "999x999999"]  # fmt: skip
listed = st.sampled_from(
    [*NUMBERS, *WORDS, *PLACES, *(f"{knob}={v}" for knob in knobs.ALL for v in ("", "-1", "9" * 400))]
)
anything = listed | st.text(st.characters(exclude_characters="\0/", exclude_categories=[]), max_size=20)
quickly = settings(
    max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """The status is one of those that are documented, and a refusal is one line."""
    status = command_line.main(arguments)
    out, err = capsys.readouterr()
    assert status in (0, 1, 2), (arguments, err)
    if status == 2 and not out:
        assert err.startswith("tfgpu-tui: ") and err.count("\n") == 1 and len(err) < 3000, (arguments, err)


OPTIONS = [
    *(([option], ["train.py"]) for option in RUN_OPTIONS),
    *(
        ([verb, option], [str(RECORDING)] * RUNS.get(verb, 0))
        for verb, names in VERB_OPTIONS.items()
        for option in names
    ),
]


@pytest.mark.parametrize(("before", "after"), OPTIONS, ids=lambda words: "-".join(words[:2])[:30])
def test_an_option_with_nonsense(
    before: list[str], after: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A random word may be the name of a program, and `doctor` runs what it is given.
    @quickly
    @given(listed if before[-1] == "--python" else anything, st.booleans())
    def each(text: str, attached: bool) -> None:
        option = [f"{before[-1]}={text}"] if attached else [before[-1], text]
        told([*before[:-1], *option, *after], capsys)

    each()


@pytest.mark.parametrize(
    "before", [["stop"], ["replay"], ["report"], ["compare", str(RECORDING)], ["attach"], ["-m"], ["-c"], ["-X"], []]
)
def test_a_run_or_a_script_that_is_none(before: list[str], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @quickly
    @given(anything)
    def each(text: str) -> None:
        told([*before, text], capsys)

    each()


@pytest.mark.parametrize(
    "line",
    [
        "replay {} --svg out.svg --at nan", "replay {} --svg out.svg --at inf", "replay {} --svg out.svg --size 0x0",
        "replay {} --svg out.svg --size ٣x٣", "replay {} --svg out.svg --size 1000x1", "replay {} --speed inf",
        "replay {} --svg folder", "stop ./piped", "report ./piped", "report ./run", "attach ./deep.jsonl",
        "report deep.jsonl", "--config nul.toml train.py", "--config deep.toml train.py", "--config fifo train.py",
        "--config huge.toml train.py", "doctor --python ./echo",
        "compare {} {} --svg no/such/folder/x.svg", "report {} --html folder",
        "report {} --tensorboard text", "prune --older-than nan", "prune --keep -1", "prune --total-size 1e400",
    ],
)  # fmt: skip
def test_numbers_and_places_that_can_not_be(line: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main([word.format(RECORDING) for word in line.split()]) == 2
    out, err = capsys.readouterr()
    if line.startswith("doctor"):
        assert out.startswith("Can't tell: ") and not err, "that is its answer"
    else:
        assert not out and err.startswith("tfgpu-tui: ") and err.count("\n") == 1, err


def test_a_folder_that_is_not_ours(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    closed = place / "closed"
    closed.mkdir(mode=0)
    with as_nobody():
        told(["closed/train.py"], capsys)
        told(["--python", "./closed/bin/python", "train.py"], capsys)
        told(["--config", "closed/x.toml", "train.py"], capsys)
        told(["report", "./closed/run"], capsys)
        told(["--report-json", "closed/sub/r.json", "train.py"], capsys)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Nothing forbids root anything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_user_without_a_home(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_entry(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for name in ("HOME", "TFGPU_TUI_STATE_DIR"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", "a/relative/one")
    monkeypatch.setenv("XDG_CONFIG_HOME", "")
    monkeypatch.setattr(pwd, "getpwuid", no_entry)
    assert command_line.main(["runs"]) == 2
    assert "set HOME, or TFGPU_TUI_STATE_DIR" in capsys.readouterr().err
    assert command_line.main(["--help"]) == 0
    assert configuration.load({}) == configuration.Settings()
    assert not (place / "~").exists() and not (place / "a").exists()


def test_relative_folders_of_the_desktop_are_none(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TFGPU_TUI_STATE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "TMPDIR"):
        monkeypatch.setenv(name, "./relative")
    assert sockets.socket_path().is_absolute()
    assert rundir.state_dir() == tmp_path / ".local/state/tfgpu-tui"
    assert configuration.default_path() == tmp_path / ".config/tfgpu-tui/config.toml"
    assert not (place / "relative").exists()


def test_what_nobody_foresaw_is_one_line_and_a_log(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def broken(options: object) -> int:
        raise ZeroDivisionError("never\nmind")

    monkeypatch.setattr(managing, "runs", broken)
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", str(tmp_path / "state"))
    log = tmp_path / "state" / "errors.log"
    assert command_line.main(["runs"]) == mishap.STATUS
    assert capsys.readouterr().err == (
        f"tfgpu-tui: ZeroDivisionError: never·mind (a mistake of the tool's own; all of it is in {log})\n"
    )
    assert "Traceback" in log.read_text() and log.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("TFGPU_TUI_STATE_DIR", "/proc/no-such-place")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert command_line.main(["runs"]) == mishap.STATUS
    assert f"all of it is in {tmp_path}/tfgpu-tui-" in capsys.readouterr().err


def test_ctrl_c_is_quiet(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(managing, "runs", interrupted)
    assert command_line.main(["runs"]) == 130
    assert capsys.readouterr() == ("", "")


def tool(arguments: list[str | bytes], env: dict[str, str], redirect: str = "", **more: Any) -> CompletedProcess[bytes]:
    """The command in a shell that redirects it."""
    command = ["/bin/sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-m", "tfgpu_tui", *arguments]
    return subprocess.run(command, env=env, capture_output=True, timeout=180, **more)


@pytest.fixture
def own(place: Path, tmp_path: Path) -> dict[str, str]:
    runtime = {"XDG_RUNTIME_DIR": str(tmp_path), "TFGPU_TUI_PYTHON": sys.executable}
    return {**os.environ, **runtime, "TFGPU_TUI_STATE_DIR": str(tmp_path / "state"), "PYTHONPATH": str(ROOT)}


LOCALES = [
    {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    {"PYTHONIOENCODING": "ascii"},
    {"PYTHONIOENCODING": "utf-16"},
]


def test_a_name_of_any_bytes_reaches_the_script_and_every_list(own: dict[str, str], tmp_path: Path) -> None:
    name, argument = b"tr\xff\xe4n.py", b"\xfe=\xc3\xa4"
    with open(os.fsencode(tmp_path) + b"/" + name, "w") as script:
        script.write("import os, sys\nos.write(1, b'|'.join(map(os.fsencode, sys.argv)))\n")
    for locale in LOCALES[:2]:
        done = tool(["--headless", name, argument], own | locale, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (0, name + b"|" + argument), done.stderr
        assert b"Traceback" not in done.stderr
    lists = ["runs", "report last", "--list-knobs"], ["runs --json", "compare last last"], ["runs"]
    for locale, lines in zip(LOCALES, lists, strict=True):
        for line in lines:
            done = tool([*line.split()], own | locale)
            assert (done.returncode, done.stderr) == (0, b""), (locale, line, done.stderr)
    assert b"arguments ...]" in tool(["--help"], own | LOCALES[0]).stdout, "in plain words, not as an escape"
    assert tool(["doctor"], own | LOCALES[2]).stdout.decode("utf-16").startswith("TensorFlow will")


@pytest.mark.parametrize("redirect", [">/dev/full", ">&-"])
def test_output_that_nobody_takes_is_said(redirect: str, own: dict[str, str]) -> None:
    for arguments in (["--help"], ["--version"], ["runs"], ["--list-knobs"], ["report", str(RECORDING)], []):
        done = tool([*arguments], own | {"PYTHONUNBUFFERED": "" if arguments == ["runs"] else "1"}, redirect)
        assert done.returncode == 2, (arguments, done)
        assert done.stderr.startswith(b"tfgpu-tui: stdout can't be written: "), (arguments, done)
        assert done.stderr.count(b"\n") == 1


def test_closed_streams(own: dict[str, str], tmp_path: Path) -> None:
    done = tool(["nothing"], own, "<&- 2>&-")
    assert (done.returncode, done.stdout) == (2, b""), "nothing of stderr's on stdout"
    assert tool(["runs"], own, "2>/dev/full").returncode == 0
    assert tool(["nothing"], own, "2>/dev/full").returncode == 2
    (tmp_path / "t.py").write_text("import sys\nassert sys.stdout is None\nsys.exit(7)\n")
    done = tool(["--headless", str(tmp_path / "t.py")], own, ">&-")
    assert done.returncode == 7, "the script's own status, and its stdout closed as it was"


def test_a_folder_that_is_gone(own: dict[str, str], tmp_path: Path) -> None:
    for line in ("train.py", "report ./x", "--report-json x -c 1", "doctor --python ./x", "-m x"):
        (tmp_path / "gone").mkdir()
        script = f'rmdir "$PWD"; exec "$0" -m tfgpu_tui {line}'
        done = subprocess.run(
            ["/bin/sh", "-c", script, sys.executable], cwd=tmp_path / "gone", env=own, capture_output=True, timeout=180
        )
        assert done.returncode == 2 and done.stderr.startswith(b"tfgpu-tui: "), (line, done.stderr)
        assert done.stderr.count(b"\n") == 1, (line, done.stderr)
