"""The doctor's quick look at the script's environment, beside the script's own start: some 40 ms of another process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import time
from collections.abc import Mapping

from tfgpu_tui.core.events import Preflight
from tfgpu_tui.doctor import QUICK_TIMEOUT_S, probe_command
from tfgpu_tui.runs.rundir import Meta
from tfgpu_tui.supervisor import child

POLL_S = 0.01


def environment_of_script(meta: Meta, base: Mapping[str, str]) -> dict[str, str]:
    """The variables that the script has, the monitor's own apart: a look must not be taken for a part of the run."""
    env = {**base, **child.additions(meta, base)}
    env = {name: value for name, value in env.items() if not name.startswith("TFGPU_TUI_")}
    env.pop("PYTHONPATH")
    return env | ({"PYTHONPATH": base["PYTHONPATH"]} if "PYTHONPATH" in base else {})


async def preflight(meta: Meta) -> Preflight:
    """The facts of the script's interpreter and machine, or why there are none. Cancelled, it leaves no process."""
    began = time.monotonic()
    try:
        process = subprocess.Popen(
            probe_command(meta.python, quick=True),
            cwd=meta.cwd,
            env=environment_of_script(meta, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        return Preflight(t=time.time(), src="host", problem=f"{meta.python} can't be started: {error}")
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    text = b""
    try:
        while time.monotonic() - began < QUICK_TIMEOUT_S:
            ended = process.poll() is not None
            text += process.stdout.read() or b""  # as it comes: a pipe holds 64 KiB
            if ended:
                break
            await asyncio.sleep(POLL_S)
    finally:
        process.kill()
        process.stdout.close()
        process.wait()
    took_ms = round((time.monotonic() - began) * 1e3, 1)
    try:
        return Preflight(t=time.time(), src="host", facts=json.loads(text), took_ms=took_ms)
    except ValueError:
        why = f"the look at the environment ended with {process.returncode} and no facts"
        return Preflight(t=time.time(), src="host", problem=why, took_ms=took_ms)
