"""Family F: the run itself (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tfgpu_tui.core import units
from tfgpu_tui.core.events import ChildEnded, RunEnded, ScriptError
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.run_words import signal_name
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose import broken_environment, legacy_api, multi_worker, xla
from tfgpu_tui.diagnose.error_words import headline, place
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.stages import python_stage, stage_label

NO_STEPS_AFTER_S = 60.0
SLOW_EXIT_S = 20.0
"""An interpreter that closes for so long waits for something; the agent itself waits for 10 s at most."""
ENDS_SERVERS = (2, 15)
"""SIGINT, SIGTERM: a server of a job waits until somebody ends it."""
CORE = "the kernel wrote a core dump: `coredumpctl list`, or the pattern in /proc/sys/kernel/core_pattern, says where"


def findings(state: RunState) -> Iterator[Finding]:
    """run.legacy_api, xla.unsupported_op, run.broken_environment, run.multi_worker_keras3, run.failed, run.killed,
    run.slow_exit, run.other_backend, run.no_steps."""
    causes = (broken_environment.findings, legacy_api.findings, xla.findings, multi_worker.findings, _failed)
    # One exception has one cause: what a broken package lacks looks like what a new version dropped.
    yield from next((found for cause in causes if (found := list(cause(state)))), [])
    yield from _slow_exit(state)
    yield from _other_backend(state)
    yield from _no_steps(state)


def _failed(state: RunState) -> Iterator[Finding]:
    ended = state.ended
    if state.not_started is not None:
        yield _not_started(state.not_started, ended)
        return
    if ended is None:
        return
    stopped = state.stopped(ended.exit_code, ended.signal)
    if stopped is not None and (stopped != "stop-after" or ended.signal is not None):
        return  # It ended because we were asked to end it.
    if ended.signal in ENDS_SERVERS and state.serves:
        return
    if ended.signal is not None:
        yield _killed(state, ended.signal, ended.core_dumped)
    elif not ended.exit_code and state.child_ends:
        yield _crashed_children(state, state.child_ends)
    elif ended.exit_code or state.child_errors:
        error = state.error or (state.child_errors[0] if state.child_errors else None)
        where = "The script" if ended.exit_code else "A child of the script"
        yield Finding(
            id="run.failed",
            severity="critical",
            title=f"{where} failed: {headline(error.exception, error.message)}"
            if error
            else f"The script failed with exit code {ended.exit_code}",
            lines=[_place(error, state.places)]
            if error
            else ["no Python exception was seen: it called exit itself, or a library did"],
            next=_what_to_do(error, "Read the last lines of its output.", state.places),
            evidence={
                "exit_code": ended.exit_code,
                "exception": error.exception if error else None,
                "message": error.message if error else None,
                "file": error.file if error else None,
                "line": error.line if error else None,
            },
        )


def _not_started(why: str, ended: RunEnded | None) -> Finding:
    return Finding(
        id="run.failed",
        severity="critical",
        title=f"The script was never started: {why.partition(': ')[2] or why}",
        lines=[why],
        next="Name an interpreter that runs here: --python PATH (`PATH --version` tells whether it does).",
        evidence={"exit_code": ended.exit_code if ended else None, "reason": why},
    )


def _killed(state: RunState, number: int, core_dumped: bool | None) -> Finding:
    name = signal_name(number)
    by_kernel = number == 9 and bool(state.oom_kills)
    if by_kernel:
        step = "The host's memory was full: a smaller shuffle buffer or cache, fewer workers, or a larger job."
    elif number == 9 and state.oom_kills is None:
        step = f"Find out who sent {name}. The kernel's out-of-memory killer sends it, too; `dmesg | tail` tells."
    elif number in (4, 6, 7, 8, 11):
        step = "A native library crashed, not Python: the end of the output, or `python -X faulthandler`, says where."
    else:
        step = f"Find out who sent {name}: a job scheduler at its time limit, a closed terminal, or a person."
    return Finding(
        id="run.killed",
        severity="critical",
        title="The kernel's out-of-memory killer ended the script" if by_kernel else f"The script was ended by {name}",
        lines=[f"its memory was {_mib(state.rss_peak_bytes)} at the highest sample", *([CORE] if core_dumped else [])],
        next=step,
        evidence={
            "signal": number,
            "core_dumped": core_dumped,
            "rss_peak_mib": int(state.rss_peak_bytes or 0) >> 20 or None,
            "oom_kills": state.oom_kills,
            "memory_limit_mib": int(state.environment.memory_limit_bytes or 0) >> 20 or None,
        },
    )


def _crashed_children(state: RunState, ends: list[ChildEnded]) -> Finding:
    """The script's own status says nothing of them."""
    how = Counter(
        f"by {signal_name(end.signal)}" if end.signal is not None else f"with exit code {end.exit_code}" for end in ends
    )
    words = ", ".join(f"{count} {kind}" for kind, count in how.most_common(4))
    killed = any(end.signal == 9 for end in ends)
    error = state.child_errors[0] if state.child_errors else None
    return Finding(
        id="run.failed",
        severity="critical",
        title=f"{len(ends)} child process{'es' if len(ends) > 1 else ''} crashed, though the script ended well",
        lines=[
            *([f"{headline(error.exception, error.message)}, at {_place(error, state.places)}"] if error else []),
            f"ended {words}",
        ],
        next=_what_to_do(error, "Look for their tracebacks in the output.", state.places)
        + (" SIGKILL comes from the kernel's out-of-memory killer, too: `dmesg | tail` tells." if killed else ""),
        evidence={
            "exit_code": 0,
            "children": len(ends),
            "how": dict(how),
            "exception": error.exception if error else None,
            "message": error.message if error else None,
            "file": error.file if error else None,
            "line": error.line if error else None,
        },
    )


def _what_to_do(error: ScriptError | None, unknown: str, places: Places) -> str:
    if error is None:
        return unknown
    known = legacy_api.today(error)
    at = _place(error, places)
    return f"Look at {at}." if known is None else f"At {at} write {known[1]}."


def _place(error: ScriptError, places: Places) -> str:
    return place(error, places) or "the traceback in the output"


def _mib(value: int | None) -> str:
    return "unknown" if value is None else f"{int(value) >> 20} MiB"


def _other_backend(state: RunState) -> Iterator[Finding]:
    backend = state.environment.backend
    if backend in (None, "tensorflow"):
        return
    yield Finding(
        id="run.other_backend",
        severity="warning",
        title=f"Keras computes with {backend} here, not with TensorFlow",
        lines=["steps and callbacks are measured; input wait, placement and TensorFlow's memory are not"],
        next='Set KERAS_BACKEND=tensorflow, or "backend" in ~/.keras/keras.json, to train with TensorFlow.',
        evidence={"backend": backend, "keras": state.environment.keras},
    )


def _slow_exit(state: RunState) -> Iterator[Finding]:
    """TensorFlow waits for calls into an interpreter that takes no more calls: its process then stays for ever. After a
    stop that is no fault of the script: the monitor ends what waits."""
    if state.exiting_t is None:
        return
    over = state.ended is not None
    waited_s = state.now - state.exiting_t
    if waited_s < SLOW_EXIT_S:
        return
    suspect = python_stage(state) if state.stop_reason is None else None
    lines = ["its memory, on the GPU too, is held until then"] if not over else []
    if state.error is not None and not over:
        reason = headline(state.error.exception, state.error.message)
        lines.insert(0, f"it failed: {reason}, at {_place(state.error, state.places)}")
    steps = [] if over else [f"Stop it (q, or kill -TERM {state.child_pid}): its own code is done."]
    if suspect is not None:
        label = stage_label(suspect, state.places)
        lines.append(f"perhaps TensorFlow waits for {label}: Python, which a closing interpreter refuses")
        lines.append("a fault of TensorFlow (2.21), without the monitor too, where a pipeline is left before its end")
        steps.append("Let the script delete its own iterators and call gc.collect() before it ends.")
    elif state.stop_reason is not None:
        lines.append("the run was asked to stop; what its script left is closed, and takes long")
        steps += ["Nothing in the script asks for a change."] if over else []
    elif over:
        steps.append("Look for a __del__, a thread or a library that takes so long to close.")
    yield Finding(
        id="run.slow_exit",
        severity="warning",
        title=f"The script was over {units.duration(waited_s)} before its process ended"
        if over
        else f"The script is over since {units.duration(waited_s)}, but its process does not end",
        lines=lines,
        next=" ".join(steps),
        evidence={"seconds": round(waited_s, 1), "pid": state.child_pid},
        incomplete="what it waits for is not measured",
    )


def _no_steps(state: RunState) -> Iterator[Finding]:
    if state.train.steps or state.run is None or state.serves:
        return
    if state.ended is not None and (state.ended.exit_code or state.ended.signal is not None):
        return  # It did not come to that: why it failed is the finding.
    if state.ended is not None and (state.child_ends or state.child_errors):
        return  # Nor did its children, in which it may have been going to train.
    other = {phase: totals.steps for phase, totals in state.totals.items() if totals.steps}
    waited = (state.wall_s or 0.0) >= NO_STEPS_AFTER_S and state.phase in ("imported", "idle", None)
    missing = state.environment.tensorflow == "missing"
    if state.ended is None and not waited and not missing:
        return
    if missing:
        why = "the script's interpreter has no TensorFlow: only the host and the GPUs are shown"
        step = "Name the interpreter that has it: --python /path/to/env/bin/python."
    elif not state.agent_pids:
        why = "the monitor did not come up inside the script (python -I, -E and -S switch it off, so does an exec)"
        step = "Run the script without -I, -E or -S, or as `tfgpu-tui script.py` directly."
    elif state.environment.tensorflow is None and state.phase is None:
        why = "TensorFlow was never imported"
        step = "Nothing to measure in a script that does not train with TensorFlow."
    else:
        off = "".join(f"; {hook} is off: {reason}" for hook, reason in list(state.hooks_off.items())[:3])
        what = ", ".join(f"{count} {phase} steps" for phase, count in other.items()) or "none fired"
        why = f"looked for fit, train_on_batch, an optimizer's apply, tf.data loops and v1 sessions: {what}{off}"
        step = "If it does train, its loop is of a kind that is not known yet."
    yield Finding(
        id="run.no_steps",
        severity="info" if state.ended is None or other or missing else "warning",
        title="No training step was seen",
        lines=[why],
        next=step,
        evidence={
            "agents": len(state.agent_pids),
            "tensorflow": state.environment.tensorflow,
            "other_steps": other,
        },
    )
