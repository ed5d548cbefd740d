"""A server of a job with parameter servers: what it is stands on the screen, and it is no script without a training.

The chief's steps: tests/agent/test_coordinator.py.
"""

from __future__ import annotations

import json
import socket
import subprocess

from tests.process.conftest import Workplace, read_journal, wait_for_state, wait_until
from tfgpu_tui.core import events as ev
from tfgpu_tui.core.run_words import SERVES_WORDS
from tfgpu_tui.core.state import fold
from tfgpu_tui.diagnose import diagnose

START_S = 120.0
SCRIPT = """
import tensorflow as tf

resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
tf.distribute.Server(
    resolver.cluster_spec(), job_name=resolver.task_type, task_index=resolver.task_id, protocol="grpc"
).join()
"""


def serves(event: ev.Event) -> bool:
    return isinstance(event, ev.Phase) and event.phase == "serving"


def found_at_the_end(events: list[ev.Event]) -> list[str]:
    """Had the script come to its end by itself."""
    told = [event for event in events if not isinstance(event, (ev.RunEnded, ev.Stopping))]
    return [finding.id for finding in diagnose(fold([*told, ev.RunEnded(t=told[-1].t + 1.0, exit_code=0)]))]


def test_a_worker_that_only_serves_says_so(place: Workplace) -> None:
    kinds = ("chief", "worker", "ps")
    taken = [socket.create_server(("localhost", 0)) for _ in kinds]
    cluster = {kind: [f"localhost:{one.getsockname()[1]}"] for kind, one in zip(kinds, taken, strict=True)}
    for one in taken:
        one.close()
    config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": 0}})
    with subprocess.Popen(
        place.command("--headless", place.script(SCRIPT, "server.py")), cwd=place.folder,
        env={**place.env, "TF_CONFIG": config}, stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as tool:  # fmt: skip
        try:
            wait_until(lambda: place.runs() or tool.poll() is not None, "it has a run", START_S)
            run = place.only_run()
            wait_until(lambda: any(map(serves, read_journal(run))) or tool.poll() is not None, "it serves", START_S)
            (row,) = json.loads(place.tool("fleet", cluster["chief"][0], "--json").stdout)["runs"]
            assert (row["rank"], row["world_size"], row["synchronous"]) == (1, 2, False)
            assert row["doing"] == f"worker: {SERVES_WORDS}"
            assert place.tool("stop", run.id).returncode == 0
            tool.wait(60)
        finally:
            tool.kill()
    wait_for_state(run, "ended")
    events = read_journal(run)
    assert not [event for event in events if isinstance(event, ev.HookOff)]
    assert SERVES_WORDS in json.loads(place.tool("report", run.id, "--json").stdout)["unknown"]["training.step_ms"]
    assert "run.no_steps" not in found_at_the_end(events)
    assert "run.no_steps" in found_at_the_end([event for event in events if not serves(event)])
