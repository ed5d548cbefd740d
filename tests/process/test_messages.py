"""TensorFlow's own messages and the look at the environment, in real runs; the script's output stays what it was."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.process.conftest import DEADLINE_S, Workplace, of_type, wait_for_state, wait_until
from tfgpu_tui.core.events import Diagnostic, Environment, Preflight

STDERR = (Path(__file__).parents[1] / "unit" / "stderr" / "no_cusolver.txt").read_bytes()
SCRIPT = f"""
import os, sys, time
os.write(2, {STDERR!r})
print("trained")
time.sleep(float(sys.argv[1]))
"""


def grave(events: list[Any]) -> list[str]:
    return [e.id for e in events if e.level == "error"]


def test_a_terminals_output_is_read_as_it_passes(place: Workplace) -> None:
    run = place.start(place.script(SCRIPT), "0.3")
    wait_for_state(run, "ended")
    assert grave(of_type(run, Diagnostic)) == ["cuda.library", "cuda.gpus_skipped"]
    assert run.output_log.read_bytes().startswith(STDERR.replace(b"\n", b"\r\n"))
    sources = {e.messages_from for e in of_type(run, Environment) if isinstance(e, Environment)}
    assert "terminal" in sources


def headless(place: Workplace, stderr: Any, *options: str) -> dict[str, Any]:
    """A headless run with this stderr; its report."""
    command = place.command("--headless", "--report-json", "report.json", *options, place.script(SCRIPT), "0.6")
    done = subprocess.run(command, cwd=place.folder, env=place.env, stdout=subprocess.PIPE, stderr=stderr, timeout=180)
    assert (done.returncode, done.stdout) == (0, b"trained\n")
    report: dict[str, Any] = json.loads((place.folder / "report.json").read_text())
    return report


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_a_file_that_stderr_was_sent_to_is_read_from_the_runs_start(place: Workplace, mode: str) -> None:
    log = place.folder / "stderr.log"
    earlier = b"E0000 00:00:1.1  1 cuda_platform.cc:52] failed call to cuInit: UNKNOWN ERROR (303)\n"
    log.write_bytes(earlier)
    with log.open(mode) as file:
        report = headless(place, file)
    told = report["environment"]["diagnostics"]
    assert [d["id"] for d in told if d["level"] == "error"] == ["cuda.library", "cuda.gpus_skipped"]
    assert told[-1]["meaning"].startswith("at least one CUDA library can't be loaded")
    written = log.read_bytes()
    assert written.startswith(earlier + STDERR if mode == "ab" else STDERR), (
        "not a byte of it is ours before the report"
    )


def test_a_pipe_is_its_callers_and_so_the_messages_are_unknown(place: Workplace) -> None:
    report = headless(place, subprocess.PIPE)
    assert report["environment"]["diagnostics"] is None
    assert "can't be read" in report["unknown"]["environment.diagnostics"]


def test_without_a_stderr_the_run_goes_on(place: Workplace) -> None:
    command = place.command("--headless", "--report-json", "report.json", place.script("print('trained')"))
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" 2>&-', "sh", *command],
        cwd=place.folder,
        env=place.env,
        capture_output=True,
        timeout=180,
    )
    assert (done.returncode, done.stdout) == (0, b"trained\n")


def test_the_environment_is_looked_at_while_the_script_starts(place: Workplace) -> None:
    place.env["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    script = place.script("import pathlib, time\nwhile not pathlib.Path('seen').exists(): time.sleep(0.02)")
    with subprocess.Popen(
        place.command("--headless", "--set", "visible_devices=none", script), cwd=place.folder, env=place.env
    ) as tool:
        wait_until(lambda: place.runs() and of_type(place.only_run(), Preflight), "the environment was looked at")
        (place.folder / "seen").touch()
        assert tool.wait(DEADLINE_S) == 0
    (seen,) = of_type(place.only_run(), Preflight)
    assert isinstance(seen, Preflight)
    assert seen.problem is None and seen.took_ms is not None
    assert seen.facts["executable"] == sys.executable
    assert seen.facts["tensorflow_dir"]
    env = seen.facts["env"] or {}
    assert env["CUDA_VISIBLE_DEVICES"] == "-1", "as the knob makes it for the script"
    assert env["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert "cuda_driver" not in seen.facts, "the driver is left alone"


def test_a_look_that_fails_is_said_and_costs_nothing_else(place: Workplace) -> None:
    python = place.folder / "python"
    python.write_text(f'#!/bin/sh\ncase "$*" in *probe.py*) exit 3;; esac\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    report = headless(place, subprocess.PIPE, "--python", str(python))
    assert report["monitor"]["faults"] == []
    (seen,) = of_type(place.only_run(), Preflight)
    assert isinstance(seen, Preflight)
    assert (seen.facts, seen.problem) == ({}, "the look at the environment ended with 3 and no facts")


def test_a_short_script_leaves_no_look_behind(place: Workplace) -> None:
    run = place.start(place.script("pass"))
    wait_for_state(run, "ended")
