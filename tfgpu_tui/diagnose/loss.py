"""Family F: the loss is no number any more (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding


def findings(state: RunState) -> Iterator[Finding]:
    """run.nan_loss."""
    value = state.metrics.get("loss")
    if state.loss_lost_at is None or not isinstance(value, str):
        return
    policy = state.model.dtype_policy if state.model is not None else None
    mixed = policy is not None and policy.endswith("_float16")
    compiled = state.model is not None and state.model.jit_compile is True
    before = state.loss_finite_at
    step = "Lower the learning rate or clip the gradients (optimizer's clipnorm=1.0), and look for NaN in the data"
    where = "tf.debugging.enable_check_numerics() then names the op that makes the first one, at some cost."
    yield Finding(
        id="run.nan_loss",
        severity="critical",
        title=f"The loss is {value}: the training learns nothing any more",
        lines=[
            f"first read so at step {state.loss_lost_at}"
            + (", the first time that it was read" if before is None else f"; at step {before} it was a number"),
            f"precision {policy or 'unknown'}" + (", compiled with XLA" if compiled else ""),
            *(["float16 has no number above 65504: a loss or gradient that exceeds it is infinite"] if mixed else []),
        ],
        next=(f"Rerun in float32 to see whether it is the precision. {step}. " if mixed else f"{step}. ") + where,
        knob="precision=float32" if mixed else None,
        evidence={
            "value": value,
            "step_at_latest": state.loss_lost_at,
            "last_finite_step": before,
            "dtype_policy": policy,
            "jit_compile": compiled,
        },
        incomplete="the loss is read about once a second: the first step without a number lies between two readings",
    )
