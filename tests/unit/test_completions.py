"""Tab in bash, zsh and fish, at a real prompt: what the line is then. A shell that is not here is left out."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SHARE = Path(__file__).parents[2] / "share"
READY = "at-the-prompt"
SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"source '{SHARE}/bash-completion/completions/tfgpu-tui'"),
    "zsh": (["zsh", "-f", "-i"], f"fpath=('{SHARE}/zsh/site-functions' $fpath); autoload -U compinit; compinit -u -D"),
    "fish": (["fish", "--no-config", "-i"], f"source '{SHARE}/fish/vendor_completions.d/tfgpu-tui.fish'"),
}
COMMAND = """#!/bin/sh
case "$*" in
    runs | explain | "demo --list") exec '{python}' -m tfgpu_tui "$@";;
    *) echo "$*" >line.part; mv line.part line;;
esac
"""
"""Says what it is asked for a completion; of the line that is sent it writes down what stands in it."""
LINES = {
    "de": "demo",
    "--hea": "--headless",
    "trai": "train it.py",
    "--theme li": "--theme light",
    "--on-finding-severity cr": "--on-finding-severity critical",
    "--set memory_g": "--set memory_growth=",
    "--interval ": "--interval",
    "--python x repl": "--python x replay",
    "stop --stage in": "stop --stage interrupt",
    "report --ht": "report --html",
    "report --html trai": "report --html train it.py",
    "report las": "report last",
    "report ./trai": "report ./train it.py",
    "explain input.bo": "explain input.bound",
    "demo slow_m": "demo slow_map",
    "try --knobs pre": "try --knobs precision=",
    "try trai": "try train it.py",
}


@pytest.fixture(params=SHELLS)
def prompt(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Types a line, presses Tab and Enter, and returns what `tfgpu-tui` was called with."""
    command, setup = SHELLS[request.param]
    if shutil.which(command[0]) is None:
        pytest.skip(f"there is no {command[0]} here")
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "tfgpu-tui").write_text(COMMAND.format(python=sys.executable))
    (bin_ / "tfgpu-tui").chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    (work / "train it.py").touch()
    ours, theirs = pty.openpty()
    environment = {"PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONPATH": str(SHARE.parent), "HOME": str(tmp_path),
                   "TERM": "xterm", "LANG": "C.UTF-8", "TFGPU_TUI_STATE_DIR": str(tmp_path / "state")}  # fmt: skip
    shell = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=work, env=environment, start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(theirs)
    said = bytearray()

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, said.decode(errors="replace")
            if select.select([ours], [], [], 0.02)[0]:
                said.extend(os.read(ours, 65536))

    def typed(line: str) -> str:
        os.write(ours, f"tfgpu-tui {line}\t\r".encode())
        wait((work / "line").exists)
        found = (work / "line").read_text().strip()
        (work / "line").unlink()
        return found

    os.write(ours, f"{setup}; echo '{READY[:3]}''{READY[3:]}'\r".encode())
    wait(lambda: READY.encode() in said)
    yield typed
    shell.kill()
    shell.wait()
    os.close(ours)


def test_tab_completes(prompt: Callable[[str], str]) -> None:
    assert {line: prompt(line) for line in LINES} == LINES
