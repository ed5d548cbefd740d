"""What a run is doing and how it ended, in words (pure)."""

from __future__ import annotations

from tfgpu_tui.core import events as ev

LOST_WORDS = "monitor lost"
"""A run whose supervisor went away without an end."""
UNSEEN_WORDS = {"elsewhere": "not seen from here", "unknown": "not known", "broken": "broken"}
"""A run of which more is not known, by its state in the list of runs."""
SERVES_WORDS = "serves the others of its job, trains nothing itself"
"""A parameter server, a worker of a coordinator, a tf.data service."""
PHASE_WORDS = {
    "importing": "importing TensorFlow",
    "imported": "TensorFlow imported",
    "building": "building the model",
    "preparing": "fit() prepares its first step",
    "tracing": "tracing the training step",
    "training": "training",
    "evaluating": "evaluating",
    "predicting": "predicting",
    "idle": "between fits",
    "serving": SERVES_WORDS,
    "exiting": "the script is over, its interpreter closes",
}
STOP_WORDS = {
    "batch": "stopping after this batch",
    "interrupt": "stopping: sent SIGINT",
    "terminate": "stopping: sent SIGTERM",
    "kill": "stopping: sent SIGKILL",
    "interpreter": "the script is over, its interpreter did not close: sent SIGTERM",
    "kill interpreter": "the script is over, its interpreter did not close: sent SIGKILL",
    "children": "stopping: sent SIGTERM to what the script left behind",
    "kill children": "stopping: sent SIGKILL to what the script left behind",
}
STOP_SIGNALS = {"interrupt": 2, "terminate": 15, "kill": 9, "interpreter": 15, "kill interpreter": 9}
"""What each stage of a stop sends to the script."""


def end_words(ended: ev.RunEnded, early: str | None = None) -> str:
    """How a run ended. `early` is why it was asked to stop, None where it was not; for journals that do not say so at
    their end."""
    if ended.stopped is not None:
        return _stop_words(ended)
    if ended.signal is not None:
        return f"ended by {signal_name(ended.signal)}" + (" (core dumped)" if ended.core_dumped else "")
    if ended.exit_code is None:
        return "ended, status unknown"
    if ended.exit_code:
        return f"failed, exit {ended.exit_code}"
    return "stopped early" if early else "finished"


def _stop_words(ended: ev.RunEnded) -> str:
    """`stopped after 60 steps`, `stopped for a rerun`, `stopped after 60 steps, exit 3`."""
    words = "stopped"
    if ended.stopped == "rerun":
        words += " for a rerun"
    elif ended.steps:
        words += f" after {ended.steps} step" + ("s" if ended.steps > 1 else "")
    if ended.exit_code:
        words += f", exit {ended.exit_code}"
    if ended.signal not in (None, STOP_SIGNALS["interrupt"]):
        words += f", by {signal_name(ended.signal)}"
    return words


def signal_name(number: int) -> str:
    """`SIGKILL` for 9; `signal 99` where it has no name. Linux numbers, so that a journal reads the same anywhere."""
    names = {1: "SIGHUP", 2: "SIGINT", 3: "SIGQUIT", 4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL",
             11: "SIGSEGV", 13: "SIGPIPE", 14: "SIGALRM", 15: "SIGTERM"}  # fmt: skip
    return names.get(number, f"signal {number}")
