"""What a run is doing and how it ended, in words (pure)."""

from __future__ import annotations

from tfgpu_tui import events as ev

PHASE_WORDS = {
    "importing": "importing TensorFlow",
    "imported": "TensorFlow imported",
    "building": "building the model",
    "tracing": "tracing the training step",
    "training": "training",
    "evaluating": "evaluating",
    "predicting": "predicting",
    "idle": "between fits",
    "exiting": "the script is over, its interpreter closes",
}
STOP_WORDS = {
    "batch": "stopping after this batch",
    "interrupt": "stopping: sent SIGINT",
    "terminate": "stopping: sent SIGTERM",
    "kill": "stopping: sent SIGKILL",
    "children": "stopping: sent SIGTERM to what the script left behind",
    "kill children": "stopping: sent SIGKILL to what the script left behind",
}


def end_words(ended: ev.RunEnded, early: str | None) -> str:
    """How a run ended; `early` is why it was stopped, None where it was not."""
    if ended.signal is not None:
        return f"ended by {signal_name(ended.signal)}" + (" (core dumped)" if ended.core_dumped else "")
    if ended.exit_code is None:
        return "ended, status unknown"
    if ended.exit_code:
        return f"failed, exit {ended.exit_code}"
    return "stopped early" if early else "finished"


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; `signal 99` where it has no name. Linux numbers, so that a journal reads the same anywhere."""
    names = {1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
             11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM"}  # fmt: skip
    return names.get(number, f"signal {number}")
