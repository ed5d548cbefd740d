"""Names that a script or a peer chose never reach the user's terminal as they are: not in `runs`, `report`, errors."""

from __future__ import annotations

import json
import os
import socket
import time

from tests.process.conftest import Workplace, of_type, wait_for_state, wait_until
from tfgpu_tui.core.events import AgentConnected, ScriptError
from tfgpu_tui.runs import rundir
from tfgpu_tui.supervisor import launch

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
RAW = [b"\x1b", b"\x07", b"\xc2\x9b", "\u202e".encode()]


def test_escapes_of_a_script_stay_out_of_every_text(place: Workplace) -> None:
    script = place.script("import time\ntime.sleep(60)\n", f"train{EVIL}.py")
    run = place.start(script, EVIL, os.fsdecode(b"\xff\xfe"))
    wait_until(lambda: of_type(run, AgentConnected), "the agent said hello")
    event = {"v": 1, "t": time.time(), "src": "agent", "pid": 1, "type": "script_error", "exception": EVIL}
    events = [
        {**event, "message": EVIL, "file": EVIL, "line": 1, "function": EVIL},
        {**event, "type": "hook_off", "hook": EVIL, "reason": EVIL},
        {**event, "type": "fault", "part": EVIL, "message": EVIL},
        {**event, "type": "metrics", "step": 1, "values": {EVIL: 1.0}},
        {**event, "type": "phase", "phase": EVIL},
    ]
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(rundir.read_meta(run).socket)
        for data in events:
            peer.sendall(json.dumps(data).encode() + b"\n")
    wait_until(lambda: of_type(run, ScriptError), "the peer was heard")
    texts = [place.tool("runs"), place.tool("stop", f"no{EVIL}")]
    launch.stop(run, "kill")
    wait_for_state(run, "ended")
    texts += [place.tool("report", run.id), place.tool("attach", run.id), place.tool("compare", run.id, run.id)]
    texts += [place.tool("runs", "--json"), place.tool("report", run.id, "--json")]
    for done in texts:
        assert done.stdout or done.stderr
        for raw in RAW:
            assert raw not in done.stdout + done.stderr, done
    assert b"Traceback" not in b"".join(done.stderr for done in texts)


def test_escapes_stay_out_of_a_headless_report(place: Workplace) -> None:
    script = place.script(f"class E{'x'}(Exception): pass\nraise Ex({EVIL!r})\n")
    done = place.tool("--headless", "--plain", script, EVIL)
    report = done.stderr[done.stderr.index(b"tfgpu-tui report") :]
    assert not any(raw in report for raw in RAW)
