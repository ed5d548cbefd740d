"""Family D: a debugging switch of TensorFlow's is still on (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core import units
from tfgpu_tui.core.state import STEADY_STEPS, RunState
from tfgpu_tui.diagnose.finding import Finding

SWITCHES = {
    "check_numerics": (
        "tf.debugging.enable_check_numerics()",
        "the result of every op is searched for NaN and infinity",
    ),
    "dump_debug_info": (
        "tf.debugging.experimental.enable_dump_debug_info()",
        "what every op does in every step is written to files",
    ),
    "debug_mode": (
        "tf.data.experimental.enable_debug_mode()",
        "Python runs the input pipeline, one op after the other",
    ),
}
"""Name of a switch -> (the call, what it costs)."""


def findings(state: RunState) -> Iterator[Finding]:
    """host.debugging."""
    on = [(name, place) for name, place in state.debug_switches.items() if name in SWITCHES]
    if not on or state.judged.steps < STEADY_STEPS:
        return
    calls = [SWITCHES[name][0] for name, _ in on]
    yield Finding(
        id="host.debugging",
        severity="warning",
        title=f"Debugging is switched on: {SWITCHES[on[0][0]][1]}",
        lines=[
            f"{calls[0]} at {on[0][1]}",
            *(f"{SWITCHES[name][0]} at {place}: {SWITCHES[name][1]}" for name, place in on[1:]),
            f"a step takes {units.duration(state.judged.mean_s)}",
        ],
        next=f"Take {' and '.join(calls)} out once the fault is found.",
        evidence={"switches": dict(on), "step_ms": round((state.judged.mean_s or 0.0) * 1e3, 3)},
        incomplete="how much it costs is known only after a run without it",
    )
