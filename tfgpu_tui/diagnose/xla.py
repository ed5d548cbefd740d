"""Family C: what XLA, Keras' compiler of the step, can't do (pure)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.error_words import place
from tfgpu_tui.diagnose.finding import Finding

_UNSUPPORTED = re.compile(r"Detected unsupported operations when trying to compile graph .{0,300}? on XLA_\w+: (\w+)")
"""tensorflow/compiler/tf2xla; the words of TensorFlow 2.15 to 2.21, the last on an NVIDIA H200 too."""
_NODE = re.compile(r"compatible with node \{\{node ([^}]+)\}\}")


def findings(state: RunState) -> Iterator[Finding]:
    """xla.unsupported_op: in place of run.failed."""
    if state.ended is None or state.error is None:
        return
    found = _UNSUPPORTED.search(state.error.message)
    if found is None:
        return
    op, node = found[1], _NODE.search(state.error.message)
    scopes = node[1].split("/")[:-1] if node else []
    layer = re.sub(r"_\d+$", "", scopes[-1]) if scopes else None
    asked = state.run.knobs.get("jit_compile") if state.run is not None else None
    if asked == "on":
        who, step = "this run was asked for jit_compile=on", "Rerun without jit_compile=on"
    else:
        who = "Keras compiles the step by itself where there is a GPU (jit_compile='auto'), or the script asked for it"
        step = "Compile the model without XLA, model.compile(…, jit_compile=False)"
    yield Finding(
        id="xla.unsupported_op",
        severity="critical",
        title=f"XLA can't compile {op}{f' in layer {layer}' if layer else ''}: the training stopped at its first step",
        lines=[
            *filter(None, [place(state.error, state.places)]),
            who,
            "on its own, without XLA, TensorFlow has a kernel for it",
        ],
        next=f"{step}; or take {op} out of the model, into the input pipeline.",
        knob=None if asked == "on" else "jit_compile=off",
        evidence={
            "op": op,
            "node": node[1] if node else None,
            "layer": layer,
            "file": state.error.file,
            "line": state.error.line,
            "exception": state.error.exception,
        },
    )
