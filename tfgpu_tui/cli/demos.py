"""The verb `demo`: one of the demo scripts, run here; without TensorFlow the recording of one, replayed."""

from __future__ import annotations

import argparse
import ast
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import tfgpu_tui
from tfgpu_tui.cli import starting, streams
from tfgpu_tui.cli.refusals import UsageError
from tfgpu_tui.cli.settings import settings_of
from tfgpu_tui.runs import files, interpreter, rundir
from tfgpu_tui.runs.rundir import RunDir
from tfgpu_tui.terminal.lines import printable

FIRST = "slow_map"
RECORDED = {
    "slow_map": "h200-input-bound",
    "healthy": "h200-healthy",
    "no_gpu_kernel": "h200-xla-refused",
    "long_validation": "cpu-validation",
    "out_of_memory": "out-of-memory",
}
"""Demo and the recording of a run of it."""
_PACKAGES = {"sklearn": "scikit-learn", "PIL": "pillow"}
_PROBE = """import importlib.util as u, sys
print(*(n for n in sys.argv[1:] if getattr(u.find_spec(n), "origin", None) is None))"""
"""A folder that an uninstall left has a spec, and no origin."""
PROBE_LIMIT_S = 10.0
SPEED = 4.0
"""A recording's pace: TensorFlow takes some ten seconds to start."""
ENOUGH = 30
"""Characters that say what a demo is about."""


def demo(options: argparse.Namespace) -> int:
    """Runs a demo live, or replays what was recorded; returns the exit status. Raises UsageError."""
    if options.list:
        print(listing(shutil.get_terminal_size().columns))
        return 0
    name = (options.name or FIRST).removesuffix(".py")
    if name in recordings():
        return _replay(name, options)
    if name not in scripts():
        raise UsageError(f"there is no demo {name:.100}: `tfgpu-tui demo --list` shows them")
    if options.replay:
        return _replay(_recording_of(name, "without --replay it runs"), options)
    why = short = ""
    try:
        python = interpreter.choose(options.python or settings_of(options).python)
        if absent := missing(name, python):
            packages = " ".join(_PACKAGES.get(module, module) for module in absent)
            why = f"{name}.py needs what {python} does not have (pip install {packages})"
            short = f"a recording: no {absent[0]} in {python}"
    except interpreter.InterpreterError as error:
        why = str(error)
    if why:
        return _replay(_recording_of(name, why), options, f"{why}: this is a recording of such a run", short)
    return _run(name, python, options)


def source() -> Path:
    """The folder of the demos: in the package, or in a clone beside it. Raises UsageError."""
    package = Path(tfgpu_tui.__file__).parent
    for folder in (package / "demo", package.parent / "demo"):
        if (folder / f"{FIRST}.py").is_file():
            return folder
    raise UsageError("this installation came without its demos: install it from a wheel, or in a clone")


def scripts() -> dict[str, str]:
    """Each demo with what its first line says of it; `digits` is a part of them, and none."""
    found = {path.stem: path for path in sorted(source().glob("*.py"))}
    del found["digits"]
    return {name: _first_words(path) for name, path in found.items()}


def recordings() -> dict[str, str]:
    """Each recording with what the README beside them says of it."""
    folder = source() / "recordings"
    rows = re.findall(r"^\| (`.*?) \| (.*?) \|$", (folder / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    said = {name: words.replace("`", "") for names, words in rows for name in re.findall(r"`([\w-]+)\.jsonl`", names)}
    return {path.stem: said.get(path.stem, "") for path in sorted(folder.glob("*.jsonl"))}


def listing(columns: int) -> str:
    """All demos and recordings, with their one sentence."""
    width = min(max(columns, 60), 120)
    live = _rows({name: words + (" *" if name in RECORDED else "") for name, words in scripts().items()}, width)
    replayed = _rows(recordings(), width)
    return "\n".join(
        [f"tfgpu-tui demo NAME runs it here (without NAME: {FIRST}); * a recording stands in without TensorFlow", "",
         *live, "", "recordings, replayed without TensorFlow or a GPU:", "", *replayed]
    )  # fmt: skip


def missing(name: str, python: str) -> list[str]:
    """The modules that a demo imports and that interpreter does not have. Empty where it does not answer."""
    wanted = _imports(source() / f"{name}.py")
    try:
        said = subprocess.run(
            [python, "-c", _PROBE, *sorted(wanted, key=lambda module: (module != "tensorflow", module))],
            cwd=source(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=PROBE_LIMIT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    absent = said.stdout.decode(errors="replace").split()
    # TensorFlow brings Keras and NumPy along.
    return [module for module in absent if not ("tensorflow" in absent and module in ("keras", "numpy"))]


def _imports(path: Path) -> set[str]:
    """The modules outside the standard library that a script imports, with those of the demos' own modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    own = {name for name in found if (path.parent / f"{name}.py").is_file()}
    for name in own:
        found |= _imports(path.parent / f"{name}.py")
    return {"tensorflow", *found} - own - sys.stdlib_module_names


def _first_words(path: Path) -> str:
    """The first sentence of a script's docstring; up to its colon or a comma, where enough is said by then."""
    said = " ".join((ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").split("\n\n")[0].split())
    sentence = re.split(r" \((?:finding )?[a-z]+\.|\. |\.$", said)[0]
    return re.split(rf"(?<=.{{{ENOUGH}}})[:,] ", sentence)[0].replace("`", "")


def _rows(said: dict[str, str], width: int) -> list[str]:
    column = max(map(len, said)) + 2
    return [
        line
        for name, words in said.items()
        for line in textwrap.wrap(
            f"{name:<{column}}{words}", width, subsequent_indent=" " * (2 + column), initial_indent="  "
        )
    ]


def _recording_of(name: str, why: str) -> str:
    if name not in RECORDED:
        raise UsageError(f"{why}; and there is no recording of it, but of {', '.join(RECORDED)}")
    return RECORDED[name]


def _replay(recording: str, options: argparse.Namespace, words: str = "", short: str = "") -> int:
    """The screen on a recording, with the `short` reason; without a terminal its report. `words` go to the terminal."""
    from tfgpu_tui.cli import reading, telling, watching  # late: the screen's

    run = RunDir(source() / "recordings", f"{recording}.jsonl")
    settings = settings_of(options)
    if words:
        print(printable(words), flush=True)
    if settings.headless or settings.plain or not streams.screen_is_possible():
        telling.print_report(reading.told(run))
        return 0
    return watching.show(run, settings, "replay", SPEED, say=short)


def _run(name: str, python: str, options: argparse.Namespace) -> int:
    """In a folder of the user's own: demos write their images beside themselves."""
    for path in ("report_json", "config"):
        if value := getattr(options, path):
            setattr(options, path, os.path.abspath(value))
    options.python = python
    os.chdir(_copied())
    return starting.run(options, [f"{name}.py", *options.arguments], [])


def _copied() -> Path:
    """The scripts as this version has them, in the state folder. Raises rundir.StateDirError."""
    folder = rundir.runs_dir().parent / "demo"
    try:
        files.make_private(folder)
        if why := files.distrust(folder):
            raise rundir.StateDirError(f"the folder {folder} is not used: {why}")
        for path in source().glob("*.py"):
            there, data = folder / path.name, path.read_bytes()
            if not files.is_own_file(there) or there.read_bytes() != data:
                files.replace(there, data)
    except OSError as error:
        raise rundir.StateDirError(f"the demos can't be copied to {folder}: {error.strerror}") from error
    return folder
