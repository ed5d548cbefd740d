"""Family D: a debugging switch of TensorFlow's is still on, or results are deterministic at a price (pure)."""

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
    """host.debugging, host.determinism."""
    yield from _debugging(state)
    yield from _deterministic(state)


def _deterministic(state: RunState) -> Iterator[Finding]:
    place = state.debug_switches.get("op_determinism")
    if place is None or state.judged.steps < STEADY_STEPS:
        return
    asked = state.run.knobs.get("determinism") if state.run is not None else None
    compiled = state.model.jit_compile if state.model is not None else None
    yield Finding(
        id="host.determinism",
        severity="info",
        title="Results are made deterministic: how much speed that costs is not known yet",
        lines=[
            place if "TF_DETERMINISTIC_OPS" in place else f"tf.config.experimental.enable_op_determinism() at {place}",
            f"a step takes {units.duration(state.judged.mean_s)}",
            "input wait can't be measured: TensorFlow forbids clocks in its graphs then",
            *(["Keras' jit_compile='auto' leaves XLA off"] if compiled is False and state.environment.tf_gpus else []),
        ],
        next="Rerun without it (Enter) to see what it costs here; keep it where two runs must give the same numbers.",
        evidence={"place": place, "step_ms": round((state.judged.mean_s or 0.0) * 1e3, 3), "jit_compile": compiled},
        knob="determinism=off" if asked is None else None,
        incomplete="how much it costs is known only after a run without it",
    )


def _debugging(state: RunState) -> Iterator[Finding]:
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
