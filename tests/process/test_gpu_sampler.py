"""The GPU sampler's parent against children that hang, crash or talk; the host's samples go on meanwhile."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable

from tests.timed import timed
from tfgpu_tui.core.events import GpuSample, HostSample
from tfgpu_tui.runs.rundir import process_start
from tfgpu_tui.supervisor.gpu import GpuSampler
from tfgpu_tui.supervisor.host import HostSampler

pytestmark = timed

TALKS = """
import json, sys, time
print(json.dumps({"up": True}), flush=True)
row = {"index": 0, "processes": [{"pid": %d, "memory_bytes": 1}, {"pid": 1, "memory_bytes": 2}]}
print(json.dumps({"status": "ok", "gpus": [row]}), flush=True)
"""


async def watched(
    code: str, enough: Callable[[list[GpuSample]], bool], deadline_s: float = 60.0
) -> tuple[list[GpuSample], list[HostSample], float]:
    """Runs a stand-in child until the sampler said `enough`. Returns its samples, the host's, and the longest time
    for which the loop was held."""
    samples: list[GpuSample] = []
    hosts: list[HostSample] = []
    longest_s = 0.0
    host = HostSampler(os.getpid())
    sampler = GpuSampler(
        samples.append,
        0.1,
        ours=lambda: host.pids,
        command=[sys.executable, "-c", code],
        init_deadline_s=0.6,
        answer_deadline_s=0.3,
    )
    end = time.monotonic() + deadline_s
    while not enough(samples):
        assert time.monotonic() < end, f"waited in vain, got {samples}"
        began = time.monotonic()
        sampler.tick()
        hosts.append(host.sample())
        longest_s = max(longest_s, time.monotonic() - began)
        await asyncio.sleep(0.02)
    child = sampler.child_pid
    sampler.close()
    assert child is None or process_start(child) is None, "the child was ended"
    return samples, hosts, longest_s


def statuses(samples: list[GpuSample]) -> list[str]:
    return [sample.status for sample in samples]


async def test_a_child_that_hangs_at_the_start_is_told_and_replaced() -> None:
    code = "print('{\"up\": true}', flush=True); import time; time.sleep(60)"
    samples, hosts, longest_s = await watched(code, lambda s: statuses(s).count("hung") >= 1)
    assert samples[0].message and "has not answered" in samples[0].message
    assert len(hosts) > 10 and longest_s < 0.2, "nothing waited for the driver"


async def test_a_child_that_hangs_later_is_told_once() -> None:
    code = TALKS % os.getpid() + "time.sleep(60)"
    samples, _, _ = await watched(code, lambda s: statuses(s).count("ok") >= 2)
    assert statuses(samples) == ["ok", "hung", "ok"], "a new child followed after the back-off"


async def test_a_child_that_crashes_is_told_with_its_signal() -> None:
    code = TALKS % os.getpid() + "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    samples, _, longest_s = await watched(code, lambda s: "crashed" in statuses(s))
    told = samples[-1]
    assert told.message and "SIGSEGV" in told.message
    assert longest_s < 0.2


async def test_a_status_is_told_once() -> None:
    code = 'print(\'{"status": "mismatch", "message": "570 and 580"}\', flush=True); raise SystemExit(2)'
    starts = time.monotonic()
    samples, _, _ = await watched(code, lambda s: time.monotonic() - starts > 2.0)
    assert [(s.status, s.message) for s in samples] == [("mismatch", "570 and 580")]


async def test_our_processes_are_marked() -> None:
    samples, _, _ = await watched(TALKS % os.getpid(), lambda s: "ok" in statuses(s))
    processes = samples[0].gpus[0]["processes"] or []
    assert [process["ours"] for process in processes] == [True, False]


async def test_garbage_from_the_child_is_an_error_not_an_end() -> None:
    code = "print('Segmentation fault, or so', flush=True); import time; time.sleep(60)"
    samples, _, _ = await watched(code, lambda s: bool(s))
    assert samples[0].status in ("error", "hung")
