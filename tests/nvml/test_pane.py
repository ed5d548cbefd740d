"""The GPU pane while the driver is silent: old values with their age, a lost GPU as lost."""

from __future__ import annotations

from tfgpu_tui.core import events as ev
from tfgpu_tui.core.state import RunState
from tfgpu_tui.ui.draw import Box
from tfgpu_tui.ui.panes import gpu
from tfgpu_tui.ui.view import View


def title(samples: list[ev.GpuSample], now: float) -> str:
    state = RunState()
    state.apply(ev.RunStarted(t=0.0, id="train-1", argv=["train.py"], cwd="/", python="python3"))
    for sample in samples:
        state.apply(sample)
    return "".join(text for text, _ in gpu.content(View(state=state, now=now), Box(80, 12)).title)


BUSY = ev.GpuSample(t=10.0, gpus=[{"index": 0, "uuid": "GPU-1", "busy_percent": 87, "memory_used_bytes": 1}])


def test_values_that_come_have_no_age() -> None:
    assert title([BUSY], now=10.4) == "GPU 0 busy 87 %"


def test_values_that_stopped_coming_show_their_age_and_why() -> None:
    hung = ev.GpuSample(t=13.5, status="hung", message="not answered")
    assert title([BUSY, hung], now=22.0) == "GPU 0 busy 87 % 12.0 s ago  the NVIDIA driver hangs"


def test_a_lost_gpu_has_no_old_value_in_its_title() -> None:
    lost = ev.GpuSample(t=11.0, gpus=[{"index": 0, "uuid": "GPU-1", "error": "the GPU is lost"}])
    assert title([BUSY, lost], now=11.2) == "GPU 0 does not answer"
