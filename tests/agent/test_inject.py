"""What a python process of the run sees of the agent when it never imports TensorFlow: nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import INJECT, HangUp, Recorder, main_pid, of_type, run_script

LOOK = """
import json, sys
custom = "sitecustomize" in sys.modules
print(json.dumps([sys.path, sorted(sys.modules), custom, [str(p) for p in sys.path_importer_cache]]))
"""
# A package of this name wakes the agent up, without the seconds that TensorFlow takes.
FAKE = "keras"
AWAKE = "'_tfgpu_agent' in sys.modules"


@pytest.fixture
def fake_keras(tmp_path: Path) -> str:
    """A folder with a package that is named like Keras and does nothing."""
    (tmp_path / FAKE).mkdir()
    (tmp_path / FAKE / "__init__.py").write_text("")
    return str(tmp_path)


def test_paths_and_modules_are_those_of_plain_python(tmp_path: Path) -> None:
    script = tmp_path / "look.py"
    script.write_text(LOOK)
    _, plain = run_script(script, agent=False)
    _, with_agent = run_script(script)
    path, modules, custom, cache = json.loads(plain.stdout)
    path_, modules_, custom_, cache_ = json.loads(with_agent.stdout)
    assert path_ == path
    assert custom_ == custom
    assert cache_ == cache
    # `_socket` is how the script's process says hello, `atexit` (built in) how the agent hears of its end: nothing else
    # may have been loaded, `json` and `socket` least of all.
    assert set(modules_) - set(modules) <= {"_socket", "atexit"}


@pytest.mark.parametrize(
    "source",
    [
        "print('out')\nimport sys\nprint('err', file=sys.stderr)\nsys.exit(3)\n",
        "def f():\n    raise ValueError('no such thing')\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n    f()\n",
        "x = (1,\ny = 2\n",
        "raise SystemExit('a message')\n",
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n",
        "import sys\nsys.excepthook = lambda *a: print('mine', a[0].__name__)\nint('x')\n",
        "import os\nos._exit(7)\n",
        "class Odd(Exception):\n    def __str__(self):\n        raise RuntimeError\nraise Odd\n",
    ],
    ids=["exit", "chained", "syntax", "message", "interrupt", "own-hook", "os-exit", "unprintable"],
)
def test_output_and_exit_status_are_those_of_plain_python(tmp_path: Path, source: str) -> None:
    script = tmp_path / "train.py"
    script.write_text(source)
    _, plain = run_script(script, agent=False)
    events, with_agent = run_script(script)
    assert (with_agent.returncode, with_agent.stdout, with_agent.stderr) == (
        plain.returncode,
        plain.stdout,
        plain.stderr,
    )
    assert {e["pid"] for e in of_type(events, "agent_connected")} == {main_pid(events)}


def test_a_module_runs_as_with_plain_python(tmp_path: Path) -> None:
    package = tmp_path / "pkg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys\nprint(__name__, __spec__.name, sys.argv[1:], sys.path[0])\n")
    _, plain = run_script(["-m", "pkg", "--epochs", "3"], agent=False, cwd=tmp_path)
    _, with_agent = run_script(["-m", "pkg", "--epochs", "3"], cwd=tmp_path)
    assert plain.returncode == 0
    assert with_agent.stdout == plain.stdout


def test_the_callers_own_sitecustomize_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.mine = __file__\n")
    environment = {"PYTHONPATH": str(tmp_path)}
    source = "import sys, sitecustomize\nprint(sys.mine, sitecustomize.__file__, sitecustomize.__spec__.origin)\n"
    _, process = run_script(source, environment=environment)
    assert process.stdout.split() == [str(tmp_path / "sitecustomize.py")] * 3


def test_a_failing_sitecustomize_is_reported_as_always(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import no_such_module\n")
    environment = {"PYTHONPATH": str(tmp_path)}
    _, plain = run_script("import sys\nprint(1)\n", agent=False, environment=environment)
    events, process = run_script("import sys\nprint(1)\n", environment=environment)
    assert "no_such_module" in process.stderr
    assert (process.stdout, process.stderr) == (plain.stdout, plain.stderr)
    assert of_type(events, "agent_connected")


def test_the_environment_reaches_children_unchanged(tmp_path: Path) -> None:
    source = """
    import os, subprocess, sys
    print(os.environ["PYTHONPATH"])
    subprocess.run([sys.executable, "-c", "import os; print(os.environ['PYTHONPATH'])"])
    """
    _, process = run_script(source, environment={"PYTHONPATH": str(tmp_path)})
    out = process.stdout.splitlines()
    assert sorted(out) == [f"{INJECT}:{tmp_path}"] * 2


def test_every_kind_of_child_wakes_the_agent_when_it_imports_keras(fake_keras: str) -> None:
    source = f"""
    import multiprocessing, subprocess, sys

    def look(kind):
        before = {AWAKE}
        import {FAKE}
        print(kind, before, {AWAKE}, flush=True)

    if __name__ == "__main__":
        for kind in ("spawn", "fork", "forkserver"):
            process = multiprocessing.get_context(kind).Process(target=look, args=(kind,))
            process.start()
            process.join()
        code = "import sys; import {FAKE}; print('subprocess', False, {AWAKE})"
        subprocess.run([sys.executable, "-c", code], check=True)
        look("main")
    """
    events, process = run_script(source, environment={"PYTHONPATH": fake_keras})
    kinds = ["spawn", "fork", "forkserver", "subprocess", "main"]
    assert process.stdout.splitlines() == [f"{kind} False True" for kind in kinds], process.stderr
    # The children import, but train nothing: they have nothing to say, so they don't even connect.
    assert {e["pid"] for e in of_type(events, "agent_connected")} == {main_pid(events)}


def test_descriptors_are_those_of_plain_python(fake_keras: str, tmp_path: Path) -> None:
    """Before TensorFlow and after; and a script that closes all that it does not know keeps what it opens then."""
    source = f"""
    import os, sys, time
    def first_open():
        return os.listdir("/proc/self/fd") and os.open("/dev/null", os.O_RDONLY)
    def low():
        return [n for n in sorted(map(int, os.listdir("/proc/self/fd"))) if n < 256]
    def connected():
        link, end = sys.modules["_tfgpu_agent.hooks.runtime"]._link, time.monotonic() + 60
        while link._connection is None or not link._connection.held.is_ours:
            assert time.monotonic() < end
            time.sleep(0.01)
    def say(step):
        if {AWAKE}:
            connected()
            sys.modules["_tfgpu_agent.hooks.runtime"].send("metrics", step=step)
    print(low(), first_open(), low())
    os.closerange(3, 4096)
    import {FAKE}
    say(0)
    print(low(), first_open(), low())
    os.closerange(3, 256)
    say(1)
    os.closerange(3, 4096)
    files = [open("mine%d" % n, "w") for n in range(8)]
    say(2)
    for n, file in enumerate(files):
        file.write("line %d" % n)
        file.close()
    print([open("mine%d" % n).read() for n in range(8)], low())
    """
    (tmp_path / "plain").mkdir()
    (tmp_path / "ours").mkdir()
    environment = {"PYTHONPATH": fake_keras}
    _, plain = run_script(source, agent=False, environment=environment, cwd=tmp_path / "plain")
    events, process = run_script(source, environment=environment, cwd=tmp_path / "ours")
    assert (process.stdout, process.stderr) == (plain.stdout, plain.stderr) and plain.stderr == ""
    assert [e["step"] for e in of_type(events, "metrics")] == [0, 1, 2]
    assert len(of_type(events, "fault")) == 1, "the second loop; the first one passed the agent's by"
    assert of_type(events, "hook_off") == []


def test_pythons_of_any_age_load_it_without_a_word(tmp_path: Path) -> None:
    """A tool that the script starts may run on Python 2.7; nothing of it stays in our folder."""
    folder = tmp_path / "agent" / "inject"
    folder.mkdir(parents=True)
    ours = folder / "sitecustomize.py"
    ours.write_text((INJECT / "sitecustomize.py").read_text())
    own = tmp_path / "own"
    own.mkdir()
    code = "import sys; print(sys.path, getattr(sys, 'own', 'sitecustomize' in sys.modules), sys.version_info < (3, 9))"
    for python in pythons():
        for hidden in (None, "import sys\nsys.own = 7\n", "1 / 0\n", "import no_such_module\n"):
            shutil.rmtree(own)
            own.mkdir()
            if hidden is not None:
                (own / "sitecustomize.py").write_text(hidden)
            said = []
            for path in (str(own), f"{folder}:{own}"):
                environment = {**os.environ, "PYTHONPATH": path, "TFGPU_TUI_SOCKET": str(tmp_path / "none")}
                environment.pop("PYTHONDONTWRITEBYTECODE", None)
                done = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True)
                said.append((done.returncode, done.stdout, done.stderr))
            assert said[0] == said[1], python
            if "True" in said[0][1].split()[-1]:  # the others are the agent's own kind
                assert list(folder.iterdir()) == [ours], python
            shutil.rmtree(folder / "__pycache__", ignore_errors=True)


def pythons() -> list[str]:
    """This one, and each other that can be found, however old."""
    found = [*Path.home().glob(".pyenv/versions/*/bin/python"), *Path("/usr/bin").glob("python[23].[0-9]")]
    return [*{str(path.resolve()) for path in found}, sys.executable]


def test_isolated_python_has_no_agent_and_no_trouble() -> None:
    events, process = run_script(["-I", "-c", "print(1)"])
    assert (process.returncode, process.stdout, process.stderr) == (0, "1\n", "")
    assert events == []


def test_the_exception_that_ends_the_script_is_told_with_its_place(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text("import json\ndef load():\n    return json.loads('{')\nload()\n")
    events, process = run_script(script)
    (error,) = of_type(events, "script_error")
    assert process.returncode == 1
    assert (error["exception"], error["file"], error["line"]) == ("JSONDecodeError", str(script), 3)
    assert error["function"] == "load"
    assert error["main"] is True
    assert error["message"] in process.stderr


def test_the_exception_of_a_child_process_is_told_apart() -> None:
    source = """
    import subprocess, sys
    subprocess.run([sys.executable, "-c", "raise OSError('disk')"])
    """
    events, process = run_script(source)
    (error,) = of_type(events, "script_error")
    assert (error["exception"], error["main"]) == ("OSError", False)
    assert error["pid"] != main_pid(events)
    assert process.returncode == 0


def test_without_a_supervisor_the_script_runs_as_always(fake_keras: str) -> None:
    environment = {
        "PYTHONPATH": f"{INJECT}:{fake_keras}",
        "TFGPU_TUI_SOCKET": os.path.join(fake_keras, "gone"),
    }
    _, process = run_script(f"import sys, {FAKE}\nprint({AWAKE})\n", agent=False, environment=environment)
    assert (process.returncode, process.stdout, process.stderr) == (0, "True\n", "")


def test_a_supervisor_that_hangs_up_is_not_noticed(fake_keras: str) -> None:
    source = f"""
    import signal, sys
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # deadly for a process that writes to a closed socket
    import {FAKE}
    runtime = sys.modules["_tfgpu_agent.hooks.runtime"]
    link = runtime._link
    for number in range(200):
        runtime.send("metrics", step=number)
        link.flush()
        if link._lost_at is not None:
            break
    print("alive", link._lost_at is not None)
    """

    def hang_up(event: dict[str, object]) -> None:
        raise HangUp

    _, process = run_script(source, environment={"PYTHONPATH": fake_keras}, answer=hang_up)
    assert process.returncode == 0, process.stderr
    assert process.stdout == "alive True\n"


def test_an_agent_that_does_not_load_says_so_and_leaves_the_script_alone(fake_keras: str, tmp_path: Path) -> None:
    broken = tmp_path / "agent"
    (broken / "inject").mkdir(parents=True)
    (broken / "__init__.py").write_text("import no_such_module\n")
    (broken / "inject" / "sitecustomize.py").write_text((INJECT / "sitecustomize.py").read_text())
    # It comes before the one that works, and is the one that python finds.
    environment = {"PYTHONPATH": f"{broken / 'inject'}:{fake_keras}"}
    recorder = Recorder()
    try:
        environment |= {"TFGPU_TUI_SOCKET": recorder.path}
        _, process = run_script(f"import {FAKE}\nprint(1)\n", agent=False, environment=environment)
    finally:
        recorder.close()
    assert (process.returncode, process.stdout, process.stderr) == (0, "1\n", "")
    (off,) = of_type(recorder.events, "hook_off")
    assert "no_such_module" in off["reason"]
