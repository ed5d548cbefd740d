"""What is loaded for what: seen in a fresh interpreter's sys.modules, so that a careless import fails here."""

from __future__ import annotations

import subprocess
import sys

import pytest

CORE = (
    *("core.events", "core.state", "core.knobs", "core.units", "core.series", "core.checkpoint", "diagnose"),
    *("report.compare", "report.report_json", "terminal.lines"),
)
HEAVY = {"textual", "rich", "tensorflow", "keras", "numpy", "pynvml", "psutil", "asyncio", "socket", "subprocess"}


def loaded(code: str) -> set[str]:
    """Top-level packages that `code` loads; what the interpreter has at start by itself is left out."""
    listing = "import sys; before = set(sys.modules)\n" + code + "\nprint('|', *(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, timeout=60)
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
