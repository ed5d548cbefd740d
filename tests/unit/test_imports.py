"""What is loaded for what: seen in a fresh interpreter's sys.modules, so that a careless import fails here."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import tfgpu_tui

CORE = (
    *("core.events", "core.state", "core.knobs", "core.units", "core.series", "core.checkpoint", "diagnose"),
    *("report.compare", "report.report_json", "terminal.lines"),
)
HEAVY = {"textual", "rich", "tensorflow", "keras", "numpy", "pynvml", "psutil", "asyncio", "socket", "subprocess"}


def loaded(code: str) -> set[str]:
    """Top-level packages that `code` loads; what the interpreter has at start by itself is left out."""
    listing = "import sys; before = set(sys.modules)\n" + code + "\nprint('|', *(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stdout.rpartition("|")[2].split()}


@pytest.mark.parametrize("module", CORE)
def test_the_core_is_pure(module: str) -> None:
    assert loaded(f"import tfgpu_tui.{module}") & HEAVY == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["runs", "--help"], ["--list-knobs"]])
def test_help_is_light(arguments: list[str]) -> None:
    code = f"from tfgpu_tui.cli import command_line\ntry: command_line.main({arguments!r})\nexcept SystemExit: pass"
    assert loaded(code) & {"textual", "rich", "tensorflow", "keras", "numpy", "pynvml", "psutil", "asyncio"} == set()


def test_the_supervisor_knows_no_screen_and_no_driver() -> None:
    names = loaded("import tfgpu_tui.supervisor.main, tfgpu_tui.supervisor.supervise")
    assert names & {"textual", "rich", "tensorflow", "keras", "numpy", "pynvml"} == set()


def test_what_runs_before_the_script_is_light() -> None:
    names = loaded("import tfgpu_tui.cli.command_line, tfgpu_tui.supervisor.main, tfgpu_tui.supervisor.listening")
    assert names & {"textual", "asyncio", "psutil", "platformdirs", "tomllib", "logging"} == set()
    assert names & {"dataclasses", "inspect", "shutil", "tempfile", "datetime"} == set(), "15 ms of the way"


def test_the_keeper_starts_the_script_before_it_loads_anything() -> None:
    names = loaded("import tfgpu_tui.keeper.spawn")
    assert names & {"typing", "subprocess", "socket", "selectors", "json", "re", "pathlib", "dataclasses"} == set()


def test_the_keeper_stays_small() -> None:
    names = loaded("import tfgpu_tui.keeper.keep, sys\nassert 'tfgpu_tui.core.events' not in sys.modules")
    assert names & {"textual", "asyncio", "psutil", "platformdirs", "tomllib", "logging", "pynvml"} == set()


def test_the_events_are_not_made_before_the_script_starts() -> None:
    code = (
        "import tfgpu_tui.cli.command_line, tfgpu_tui.supervisor.main, sys\n"
        "assert 'tfgpu_tui.core.events' not in sys.modules, 'they cost 15 ms of the way to the first line'"
    )
    loaded(code)


ROOT = Path(tfgpu_tui.__file__).parent


def modules() -> dict[str, Path]:
    """Every module by its dotted name."""
    paths = {path.relative_to(ROOT.parent).with_suffix(""): path for path in ROOT.rglob("*.py")}
    return {".".join(name.parts).removesuffix(".__init__"): path for name, path in paths.items()}


def imported(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """What a module imports of ours, wherever the import stands: in a function, or for types alone, too."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            for alias in node.names:
                found = f"{base}.{alias.name}"
                yield found if found in known else base


def test_no_module_imports_one_that_imports_it() -> None:
    known = modules()
    graph = {name: set(imported(name, path, known)) & known.keys() - {name} for name, path in known.items()}
    assert sum(map(len, graph.values())) > 600, "the imports are found"
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))
