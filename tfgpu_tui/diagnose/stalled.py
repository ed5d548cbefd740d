"""Family F: a training that stands still: who waits for whom, and whether anything computes (pure)."""

from __future__ import annotations

from collections.abc import Iterator

from tfgpu_tui.core.events import Stacks, Standstill
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.quick import dataclass
from tfgpu_tui.core.rows import ProcessStands, ThreadStands
from tfgpu_tui.core.state import RunState
from tfgpu_tui.diagnose.finding import Finding
from tfgpu_tui.diagnose.stall_words import base, nothing_computes, place, process_words, stands, what, whole

STILL = 0.5
"""Share of the time without a step in which nothing computed and nothing moved, up to now."""
PATIENCE = 5.0
"""Times as long where the training waits outside of a step: a validation, a callback, a sleep of its own."""
AT_END = 0.5
"""Of the limit: a run that fails, or is ended, while it stands has no more time to go on by itself."""
TENSORFLOW = ("tensorflow", "keras", "tf_keras")
SHOWN = 2


@dataclass(frozen=True)
class _Scene:
    """What is known of a standstill."""

    look: Standstill
    trains: Stacks | None
    """Of the process that trains; None where its Python does not answer."""
    workers: tuple[tuple[ProcessStands, ThreadStands], ...]
    """Its forked processes that are in code of the script, and where."""
    silent: tuple[ProcessStands, ...]
    """Its forked processes that can't be asked."""

    @property
    def main(self) -> ThreadStands | None:
        """The thread that trains."""
        return next((t for t in self.trains.threads if t.get("role") == "trains"), None) if self.trains else None

    @property
    def feeds(self) -> list[ThreadStands]:
        """Threads that make batches, those in the script's own lines first."""
        return [t for t in self.trains.threads if t.get("role") == "feeds"] if self.trains else []

    @property
    def in_disk(self) -> ProcessStands | None:
        """A process with a thread that waits in a device or a file system."""
        return next((p for p in self.look.processes if p.get("state") == "D" or p.get("disk_threads")), None)


@dataclass(frozen=True)
class _Cause:
    id: str
    words: str
    """Ends the title."""
    next: str
    thread: ThreadStands | None = None
    incomplete: str | None = None


def findings(state: RunState) -> Iterator[Finding]:
    """run.stalled."""
    look, limit_s = state.standstill.latest, state.stall_limit_s
    if look is None or limit_s is None:
        yield from _past(state)
        return
    if look.answered is None and "run.stalled" not in state.standing:
        return  # where it stood before its last answer says nothing of now; a verdict that stands is not taken back
    scene = _scene(state, look)
    patience = _patience(state, scene)
    ended = state.ended is not None and bool(state.ended.exit_code or state.ended.signal)
    least_s = (patience or 0.0) * limit_s * (AT_END if ended else 1.0)
    if patience is None or look.quiet_s < least_s or look.still_s < STILL * least_s:
        return
    cause = _cause(state, scene)
    first = ("No step" if state.train.steps else "No first step") + (" at the end" if ended else "")
    yield Finding(
        id="run.stalled",
        severity="critical",
        title=f"{first} for {whole(look.quiet_s)}: {cause.words}",
        lines=_lines(scene, state.places),
        next=cause.next,
        incomplete=cause.incomplete,
        evidence={
            "seconds": round(look.quiet_s, 1),
            "still_s": round(look.still_s, 1),
            "limit_s": round(least_s, 1),
            "step": state.train.steps,
            "cause": cause.id,
            "doing": scene.trains.doing if scene.trains else None,
            "place": place(cause.thread, state.places) if cause.thread else None,
            "waits": what(cause.thread) if cause.thread else None,
            "workers": len(scene.workers) + len(scene.silent),
            "cpu_percent": look.cpu_percent,
            "gpu_busy_percent": look.gpu_busy_percent,
        },
        share=1.0,
    )


def _past(state: RunState) -> Iterator[Finding]:
    past = state.standstill.past
    if not past:
        return
    longest_s = max(seconds for _, seconds in past)
    times = f"{len(past)} times, for {whole(longest_s)} at most" if len(past) > 1 else (
        f"for {whole(longest_s)}")  # fmt: skip
    yield Finding(
        id="run.stalled",
        severity="info",
        title=f"The training stood still {times}, and went on by itself",
        lines=["nothing computed meanwhile: it waited for something outside"],
        next="Look at what it waited for (the screen's f has it under over) if it comes again.",
        evidence={"times": len(past), "longest_s": round(longest_s, 1)},
    )


def _scene(state: RunState, look: Standstill) -> _Scene:
    script = state.child_pid
    trains = _training_process(state, look)
    parent = trains.pid if trains is not None else script
    forked = [p for p in look.processes if p.get("forked") and p.get("parent") == parent]
    workers, silent = [], []
    for process in forked:
        told = state.standstill.stacks.get(process["pid"])
        thread = next((t for t in told.threads if t.get("file")), None) if told is not None else None
        if thread is not None:
            workers.append((process, thread))
        elif told is None:
            silent.append(process)
    return _Scene(look, trains, tuple(workers), tuple(silent))


def _training_process(state: RunState, look: Standstill) -> Stacks | None:
    """The script's own process, or another one that trains, where it said in which part of a step it is."""
    pids = [*((state.child_pid,) if look.answered is not False else ()), *sorted(state.training.pids)]
    told = [state.standstill.stacks[pid] for pid in pids if pid in state.standstill.stacks]
    if look.answered is False:
        told = [stacks for stacks in told if stacks.pid != state.child_pid]
    return next((stacks for stacks in told if stacks.doing is not None), None)


def _patience(state: RunState, scene: _Scene) -> float | None:
    """How many times the limit a wait like this may last; None where it is no business of ours."""
    apart = state.phase in ("evaluating", "predicting")
    trains, main = scene.trains, scene.main
    if trains is None or main is None:
        if scene.look.answered is not False or state.phase not in ("training", "evaluating", "predicting"):
            return None
        return PATIENCE if apart else 1.0
    if trains.person:
        return None
    own_wait = trains.doing == "loop" and not _sleeps(main)
    return 1.0 if not apart and (trains.doing in ("batch", "step") or own_wait) else PATIENCE


def _sleeps(thread: ThreadStands) -> bool:
    return thread.get("call") == "sleep" or "sleep(" in (thread.get("text") or "")


def _cause(state: RunState, scene: _Scene) -> _Cause:
    """The first of the known causes whose signal is there."""
    for known in (_forked_workers, _standing_workers, _disk, _feeding_thread, _silent_python, _own_line, _collective):
        cause = known(state, scene)
        if cause is not None:
            return cause
    suspects = "what its worker processes wait in is not known" if scene.silent else None
    return _Cause(
        "unknown",
        "nothing computes",
        _OF_SILENT_WORKERS if scene.silent else f"See where it stands: py-spy dump --pid {state.child_pid}.",
        scene.main,
        suspects,
    )


_FORKED = (
    "Use NumPy only in __getitem__, or use_multiprocessing=False (threads), or start the workers by spawn:"
    " TensorFlow's own threads are not there in a forked process."
)
_OF_SILENT_WORKERS = (
    "If the workers use TensorFlow: NumPy only, threads, or spawn; TensorFlow hangs in a forked process. Try workers=1,"
    " use_multiprocessing=False."
)


def _forked_workers(state: RunState, scene: _Scene) -> _Cause | None:
    hung = [thread for _, thread in scene.workers if thread.get("at_library") in TENSORFLOW]
    if not hung:
        return None
    count = "a forked worker hangs" if len(hung) == 1 else f"{len(hung)} forked workers hang"
    return _Cause("forked_worker", f"{count} in TensorFlow, at {place(hung[0], state.places)}", _FORKED, hung[0])


def _standing_workers(state: RunState, scene: _Scene) -> _Cause | None:
    if not scene.workers:
        return None
    thread = scene.workers[0][1]
    return _Cause(
        "worker",
        f"the workers wait at {place(thread, state.places)}, {what(thread)}",
        f"Look at {place(thread, state.places)}: {_advice(thread)}",
        thread,
    )


def _disk(state: RunState, scene: _Scene) -> _Cause | None:
    process = scene.in_disk
    if process is None:
        return None
    kernel = process.get("kernel")
    return _Cause(
        "disk",
        "it waits for a device or a file system" + (f", in {kernel}" if kernel else ""),
        "Look whether the storage answers: `ls` in the data's folder, `dmesg | tail`; a network mount may be gone.",
        scene.main,
    )


def _feeding_thread(state: RunState, scene: _Scene) -> _Cause | None:
    thread = next((thread for thread in scene.feeds if thread.get("file")), None)
    if thread is None or scene.trains is None or scene.trains.doing not in ("batch", "step"):
        return None
    return _Cause(
        "feed",
        f"what feeds it stands at {place(thread, state.places)}, {what(thread)}",
        f"Look at {place(thread, state.places)}: {_advice(thread)}",
        thread,
    )


def _silent_python(state: RunState, scene: _Scene) -> _Cause | None:
    if scene.trains is not None:
        return None
    return _Cause(
        "interpreter",
        "its Python does not answer: a library holds the interpreter's lock, and waits",
        f"See which one: gdb -p {state.child_pid}, or py-spy dump --native --pid {state.child_pid}.",
        incomplete="where it stands can't be asked: only what the system tells is known",
    )


def _own_line(state: RunState, scene: _Scene) -> _Cause | None:
    main = scene.main
    inside = scene.trains is not None and scene.trains.doing in ("batch", "step")
    if main is None or inside or not main.get("file"):
        return None
    return _Cause(
        "own_line",
        f"{place(main, state.places)} waits, {what(main)}",
        f"Look at {place(main, state.places)}: {_advice(main)}",
        main,
    )


def _collective(state: RunState, scene: _Scene) -> _Cause | None:
    workers = state.described.job.workers if state.described.job is not None else 0
    if workers < 2 or scene.trains is None or scene.trains.doing != "step":
        return None
    return _Cause(
        "collective",
        f"its step waits, perhaps for another of the {workers} workers",
        "Look whether all workers live and have as many batches: each step needs all of them.",
        scene.main,
        "the other workers are not seen from here",
    )


def _advice(thread: ThreadStands) -> str:
    call, on = thread.get("call"), thread.get("on") or ""
    if _sleeps(thread):
        return "it sleeps; wait for what it waits for, with a limit."
    if call == "lock" or thread.get("waits_in"):
        return "who should release it, or put something there? Give the wait a timeout, so that it says so."
    if call == "connect" or on.startswith("socket"):
        return "the other side does not answer. Give the connection a timeout."
    if call == "process":
        return "the process that it waits for does not end."
    return "it waits for something that does not come."


def _lines(scene: _Scene, places: Places) -> list[str]:
    lines = [f"the training: {stands(scene.main, places)}"] if scene.main is not None else []
    lines += [f"feeds it: {stands(thread, places)}" for thread in scene.feeds[:SHOWN]]
    groups: dict[str, int] = {}
    for _, thread in scene.workers:
        groups[stands(thread, places)] = groups.get(stands(thread, places), 0) + 1
    lines += [f"{base(count)}, forked: {words}" for words, count in list(groups.items())[:SHOWN]]
    if scene.silent:
        lines.append(f"{base(len(scene.silent))}, forked: {process_words(scene.silent[0])}")
    return [*lines, nothing_computes(scene.look)]
