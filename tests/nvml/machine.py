"""A machine whose GPUs are a scenario of the NVML stand-in, watched by our sampler through the real pynvml."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.nvml import scenarios
from tfgpu_tui.core.events import GpuSample
from tfgpu_tui.runs.rundir import process_start
from tfgpu_tui.supervisor.gpu import GpuSampler

DEADLINE_S = 60.0


@dataclass
class Machine:
    """A machine whose GPUs are a scenario, and the samplers that watch it."""

    scenario: Path
    samplers: list[GpuSampler] = field(default_factory=list)
    samples: list[GpuSample] = field(default_factory=list)
    children: set[int] = field(default_factory=set)
    """Every child that was ever there."""
    longest_s: float = 0.0
    """For how long a tick of the sampler held its caller at most."""

    def play(self, *gpus: scenarios.Gpu, faults: list[dict[str, Any]] | None = None) -> None:
        scenarios.play(self.scenario, scenarios.scenario(*gpus, faults=faults))

    def watch(self, interval_s: float = 0.1, **options: Any) -> GpuSampler:
        """Starts a sampler with deadlines short enough for a test."""
        deadlines = {"init_deadline_s": 2.0, "answer_deadline_s": 0.5}
        self.samplers.append(GpuSampler(self.samples.append, interval_s, **(deadlines | options)))
        return self.samplers[-1]

    async def until(self, enough: Callable[[], Any], deadline_s: float = DEADLINE_S) -> None:
        """Lets the sampler work until `enough()`."""
        end = time.monotonic() + deadline_s
        while not enough():
            assert time.monotonic() < end, f"waited in vain; the last samples: {self.samples[-3:]}"
            for sampler in self.samplers:
                began = time.monotonic()
                sampler.tick()
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                self.children |= {sampler.child_pid} if sampler.child_pid else set()
            await asyncio.sleep(0.02)

    async def next(self, status: str = "ok", deadline_s: float = DEADLINE_S) -> GpuSample:
        """The next sample with this status, from now on."""
        seen = len(self.samples)
        await self.until(lambda: any(s.status == status for s in self.samples[seen:]), deadline_s)
        return next(s for s in self.samples[seen:] if s.status == status)

    async def row(self, index: int = 0) -> dict[str, Any]:
        """A GPU of the next sample."""
        return next(dict(gpu) for gpu in (await self.next()).gpus if gpu["index"] == index)

    def close(self) -> None:
        for sampler in self.samplers:
            child = sampler.child_pid
            sampler.close()
            assert child is None or process_start(child) is None, "the child was ended"
