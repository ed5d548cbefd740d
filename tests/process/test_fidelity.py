"""What the script sees equals plain python: the same script, run by both, under a screen and headless.

Under a screen the comparison is with plain python in a terminal of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.process.conftest import Workplace, wait_for_state

LOOK = """
import json, os, sys, warnings
env = {k: v for k, v in os.environ.items() if k not in ("_", "PWD", "SHLVL", "COLUMNS", "LINES")}
json.dump({
    "argv": sys.argv, "path": sys.path, "main": [__name__, __file__, __package__, str(__spec__ and __spec__.name)],
    "cwd": os.getcwd(), "env": env, "tty": [os.isatty(n) for n in range(3)], "flags": str(sys.flags),
    "warnings": [str(f) for f in warnings.filters], "executable": sys.executable, "prefix": sys.prefix,
    "encoding": [s.encoding for s in (sys.stdin, sys.stdout, sys.stderr)], "buffering": sys.stdout.line_buffering,
    "hooks": [sys.displayhook.__module__, sys.breakpointhook.__module__, len(sys.meta_path), len(sys.path_hooks)],
    "fds": sorted(int(n) for n in os.listdir("/proc/self/fd"))[:3], "xoptions": sys._xoptions,
    "order": [m for m in sys.modules if m not in ("_socket", "atexit")],
}, open(os.environ["RESULT"], "w"))
"""
ADDED = {"PYTHONPATH", "TFGPU_TUI_SOCKET", "TFGPU_TUI_SCRIPT", "TFGPU_TUI_KNOBS"}
"""The list in docs/measures.md."""


def plain(place: Workplace, command: list[str], env: dict[str, str]) -> dict[str, object]:
    """What plain python's script sees in a terminal of its own."""
    master, slave = os.openpty()
    try:
        subprocess.run(
            [sys.executable, *command], stdin=slave, stdout=slave, stderr=slave, cwd=place.folder, env=env, check=True
        )
    finally:
        os.close(slave)
        os.close(master)
    return result(place)


def result(place: Workplace) -> dict[str, object]:
    import json

    path = place.folder / "result.json"
    found: dict[str, object] = json.loads(path.read_text())
    path.unlink()
    return found


def under_a_screen(place: Workplace, command: list[str]) -> dict[str, object]:
    from tfgpu_tui.supervisor import launch

    run = launch.start(launch.LaunchSpec(argv=command, cwd=str(place.folder), python=sys.executable))
    assert wait_for_state(run, "ended").exit_code == 0, run.output_log.read_text()
    return result(place)


@pytest.fixture
def look(place: Workplace, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESULT", str(place.folder / "result.json"))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PYTHONWARNINGS", "error::ResourceWarning")
    place.env.update(os.environ)
    return place.script(LOOK)


def compare(expected: dict[str, object], seen: dict[str, object]) -> None:
    ours, theirs = seen.pop("env"), expected.pop("env")
    assert isinstance(ours, dict) and isinstance(theirs, dict)
    assert {k for k in ours if ours[k] != theirs.get(k)} == ADDED and theirs.keys() <= ours.keys()
    # One entry that finds TensorFlow's first import.
    hooks, plain_hooks = seen.pop("hooks"), expected.pop("hooks")
    assert isinstance(hooks, list) and isinstance(plain_hooks, list)
    assert hooks == [*plain_hooks[:2], plain_hooks[2] + 1, plain_hooks[3]]
    assert seen == expected


def test_a_script_under_a_screen(place: Workplace, look: Path) -> None:
    command = ["script.py", "--epochs", "3", "", "a b", "*", "--headless"]
    compare(plain(place, command, dict(os.environ)), under_a_screen(place, command))


def test_a_module_of_a_package_with_relative_imports(place: Workplace, look: Path) -> None:
    package = place.folder / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "helper.py").write_text("VALUE = 1\n")
    (package / "train.py").write_text("from .helper import VALUE\nassert VALUE\n" + LOOK)
    command = ["-m", "pkg.train", "x"]
    compare(plain(place, command, dict(os.environ)), under_a_screen(place, command))


def test_a_safe_path_is_kept(place: Workplace, look: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.version_info < (3, 11):
        pytest.skip("PYTHONSAFEPATH came with Python 3.11")
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    expected = plain(place, ["script.py"], dict(os.environ))
    path = expected["path"]
    assert isinstance(path, list) and str(place.folder) not in path
    compare(expected, under_a_screen(place, ["script.py"]))


def headless(place: Workplace, script: Path, **env: str) -> tuple[subprocess.CompletedProcess[bytes], ...]:
    """The same script by plain python and by the tool, through pipes."""
    first = subprocess.run(
        [sys.executable, str(script)], capture_output=True, cwd=place.folder, env={**place.env, **env}, timeout=180
    )
    return first, place.tool("--headless", script, env=env)


@pytest.mark.parametrize(
    "source",
    [
        # Classes of __main__ are pickled by name, and found again by a process that was spawned.
        "import multiprocessing, pickle\nclass Point:\n    x = 1\n"
        "def f(p): return type(p).__module__, p.x\n"
        "if __name__ == '__main__':\n"
        "    assert type(pickle.loads(pickle.dumps(Point()))) is Point\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool: print(pool.map(f, [Point()]))\n",
        "import warnings\nwarnings.warn('old')\nwarnings.warn('old')\nimport asyncore_missing\n",
        "import sys\nprint('out', flush=True)\nprint('err', file=sys.stderr)\nraise KeyboardInterrupt\n",
        "import sys, os\nsys.stdout.write('no newline'); os.write(1, b'\\xff\\x00raw')\n",
        "import atexit, threading, time\natexit.register(print, 'atexit')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\n",
        "import sys\nsys.exit('a message')\n",
        "import os\nos.abort()\n",
        "import sys; sys.setrecursionlimit(100)\ndef f(): f()\nf()\n",
    ],
    ids=["pickle", "warnings", "interrupt", "raw", "atexit", "message", "abort", "recursion"],
)
def test_output_and_status_headless(place: Workplace, source: str) -> None:
    expected, seen = headless(place, place.script(source))
    assert seen.stdout == expected.stdout
    shown = seen.stderr[: seen.stderr.rindex(b"tfgpu-tui report")]
    assert shown == expected.stderr
    code = expected.returncode
    assert seen.returncode == (128 - code if code < 0 else code)


def test_buffering_through_a_pipe_is_pythons_own(place: Workplace) -> None:
    """What was not flushed comes at the end; what is flushed comes at once."""
    place.env.pop("PYTHONUNBUFFERED", None)
    script = place.script(
        "import os, sys, time\nprint('flushed', flush=True)\nprint('buffered')\n"
        "sys.stdin.readline()\nos.write(1, b'direct\\n')\n"
    )
    process = subprocess.Popen(
        place.command("--headless", script),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=place.env, cwd=place.folder,
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    assert os.read(process.stdout.fileno(), 100) == b"flushed\n"
    out, _ = process.communicate(b"go\n", timeout=120)
    assert out == b"direct\nbuffered\n"


def test_a_users_own_sitecustomize_and_usercustomize_run(place: Workplace, look: Path) -> None:
    (place.folder / "own").mkdir()
    (place.folder / "own" / "sitecustomize.py").write_text("import sys\nsys.own = __file__\n")
    script = place.script("import sys\nprint(sys.own)\n", "see.py")
    expected, seen = headless(place, script, PYTHONPATH=f"{place.folder / 'own'}:{place.env['PYTHONPATH']}")
    assert seen.stdout == expected.stdout == f"{place.folder / 'own' / 'sitecustomize.py'}\n".encode()


def test_an_isolated_python_is_named_as_not_watched(place: Workplace) -> None:
    """`-I` ignores PYTHONPATH: a script that starts itself anew that way is on its own, and that is said."""
    script = place.script(
        "import os, sys\nif not sys.flags.isolated: os.execv(sys.executable, [sys.executable, '-I', __file__])\n"
        "import time; time.sleep(0.3); print('isolated', sys.flags.isolated)\n"
    )
    isolated = place.script(f'#!/bin/sh\nexec {sys.executable} -I "$@"\n', "isolated-python")
    isolated.chmod(0o755)
    done = place.tool("--headless", "--python", isolated, script)
    assert done.returncode == 0 and b"isolated 1" in done.stdout
    assert b"python -I" in done.stderr and b"did not come up inside the script" in done.stderr
