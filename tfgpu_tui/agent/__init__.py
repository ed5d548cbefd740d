"""The agent: the part of tfgpu-tui that runs inside the user's process. Standard library only, python 3.9 and later.

It is a guest: it never raises into the user's code, never blocks it, never prints, never initialises TensorFlow before
the script did, and says so in an event when a part of it fails. It is loaded by `inject/sitecustomize.py` under the
module name `_tfgpu_agent`, by path, when TensorFlow or Keras is first imported. Nothing of ours imports it, and it
imports nothing of ours: its events (`core.events`) are all that is known of it.
"""

from __future__ import annotations

import importlib
from typing import Any

HOOKS = (
    "hooks.tracebacks",
    "steps.clock",
    "steps.determinism",
    "steps.device_wait",
    "steps.input_wait",
    "steps.first_runs",
    "steps.custom_loop",
    "steps.session_loop",
    "steps.coordinator",
    "steps.keras_hooks",
    "steps.building",
    "steps.agent_cost",
    "input.user_code",
    # Before describe, which looks at the caller of the same function.
    "memory.array_copy",
    "looks.describe",
    "looks.job",
    "looks.serving",
    "knobs.knobs_in_force",
    "input.pipeline",
    "placement.placement",
    "placement.profile",
    "memory.memory",
    "memory.host_memory",
    "looks.child_processes",
    "looks.retraces",
    "looks.unrolled",
    "looks.graph_python",
    "steps.fit_calls",
    "looks.script_lines",
    "looks.main_thread",
    "looks.stacks",
    "looks.debug_switches",
)
"""The modules that patch something, in the order in which their patches are applied to one and the same module."""

KNOB_HOOKS: dict[str, str] = {
    "determinism": "knobs.knob_determinism",
    "gpu_memory_limit": "knobs.knob_devices",
    "input": "knobs.knob_input",
    "jit_compile": "knobs.knob_compile",
    "precision": "knobs.knob_precision",
    "run_eagerly": "knobs.knob_compile",
    "steps_per_execution": "knobs.knob_compile",
    "threads": "knobs.knob_devices",
}
"""Knob -> the module that applies it inside the process: loaded before the other hooks, and only where it was asked."""


def start(socket_path: str) -> None:
    """Make the link to the supervisor, whose socket lies there."""
    from .hooks import runtime

    runtime.start(socket_path)


def install() -> Any:
    """Load the hooks; returns the meta-path entry that applies them as TensorFlow's modules are imported."""
    from .hooks import imports, runtime

    runtime.set_phase("importing")
    for name in (*(KNOB_HOOKS[knob] for knob in runtime.asked_knobs() if knob in KNOB_HOOKS), *HOOKS):
        try:
            importlib.import_module(f".{name}", __name__)
        except Exception as error:
            runtime.switch_off(name.rpartition(".")[2], error)
    return imports.PatchingFinder()


def end() -> None:
    """The script's own code is over."""
    from .hooks import runtime

    runtime.end()


def report_error(cls: type[BaseException], value: BaseException, traceback: Any) -> Any:
    """Send the exception that is about to end this process. Returns its traceback without the agent's own frames."""
    from .hooks import errors, tracebacks

    errors.report(cls, value, traceback)
    tracebacks.clean(value)
    return tracebacks.without_agent(traceback)
