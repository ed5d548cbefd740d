"""Where a thread or a process stands, in words (pure)."""

from __future__ import annotations

from tfgpu_tui.core import units
from tfgpu_tui.core.events import Standstill
from tfgpu_tui.core.places import Places
from tfgpu_tui.core.rows import ProcessStands, ThreadStands

CALLS = {
    "lock": "waiting for a lock or another thread",
    "sleep": "asleep",
    "poll": "waiting for a descriptor",
    "process": "waiting for another process to end",
    "open": "opening a file",
    "accept": "waiting for a connection",
}
WITH = {
    "read": "reading",
    "write": "writing",
    "connect": "connecting",
    "sync": "writing out",
    "file lock": "waiting for a lock on",
}
KERNEL = {
    "futex": "waiting for a lock or another thread",
    "nanosleep": "asleep",
    "pipe_": "waiting at a pipe",
    "sk_": "waiting for a socket",
    "inet_": "waiting for a socket",
    "tcp_": "waiting for a socket",
    "unix_": "waiting for a socket",
    "poll": "waiting for a descriptor",
    "wait": "waiting for another process",
    "nfs": "waiting for a network file system",
    "rpc": "waiting for a network file system",
    "request_wait_answer": "waiting for a file system in user space",
    "p9_": "waiting for a file system of the host",
}
"""What a function of the kernel begins with, or holds -> what sleeps there waits for."""


LIBRARIES = {"tensorflow": "TensorFlow", "keras": "Keras", "tf_keras": "tf_keras"}


def place(thread: ThreadStands, places: Places) -> str:
    """`train.py:41`, or the library's line where none of the script is on the stack."""
    file, line = thread.get("file"), thread.get("line")
    if not file:
        file, line = thread.get("at_file"), thread.get("at_line")
    return places.at(file, line)


def what(thread: ThreadStands) -> str:
    """What it waits for, as far as it is known."""
    call, on, kernel = thread.get("call"), thread.get("on"), thread.get("kernel")
    if "sleep(" in (thread.get("text") or "") and not thread.get("waits_in"):
        return "asleep"
    waits_in = thread.get("waits_in")
    if waits_in and call in (None, "lock", "poll"):
        return f"waiting in {waits_in}"
    if call in WITH:
        words = f"from the {on}" if on and on.startswith(("socket", "pipe")) and call == "read" else on
        return f"{WITH[call]} {words or 'a file or socket'}"
    if call in CALLS:
        return CALLS[call]
    return _by_kernel(kernel) or ("waiting" if thread.get("state") in ("S", "D") else "where it waits is not known")


def _by_kernel(kernel: str | None) -> str | None:
    return next((words for part, words in KERNEL.items() if kernel and part in kernel), None)


def stands(thread: ThreadStands, places: Places) -> str:
    """`train.py:52  model.fit(data), in get (py_dataset_adapter.py:412), waiting in queue.get`."""
    text = thread.get("text")
    own = place(thread, places)
    if thread.get("file") and text:
        own += f"  {text}"
    parts = [own]
    if thread.get("file") and (thread.get("at_file"), thread.get("at_line")) != (
        thread.get("file"),
        thread.get("line"),
    ):
        library = LIBRARIES.get(thread.get("at_library") or "", thread.get("at_function"))
        parts.append(f"in {library} ({_name(thread.get('at_file'))}:{thread.get('at_line')})")
    return ", ".join([*parts, what(thread)])


def process_words(process: ProcessStands) -> str:
    """`asleep in futex_do_wait`, of a process that has no agent to ask."""
    kernel = process.get("kernel")
    words = _by_kernel(kernel) or {"S": "asleep", "D": "in a device or file system", "R": "running"}.get(
        process.get("state") or "", "its state is not known"
    )
    return f"{words} ({kernel})" if kernel else words


def base(count: int) -> str:
    """`2 worker processes`."""
    return f"{count} worker process{'es' if count != 1 else ''}"


def nothing_computes(look: Standstill) -> str:
    """`nothing computes: CPU 0.4 % of a core, GPU 0 % busy`."""
    cpu = "CPU unknown" if look.cpu_percent is None else f"CPU {look.cpu_percent:.1f} % of a core"
    gpu = "" if look.gpu_busy_percent is None else f", GPU {look.gpu_busy_percent:.0f} % busy"
    return f"nothing computes: {cpu}{gpu}, in {len(look.processes)} process{'es' if len(look.processes) != 1 else ''}"


def whole(seconds: float) -> str:
    """`70 s`, `2 min 10 s`."""
    return f"{int(seconds)} s" if seconds < 120 else units.duration(seconds)


def _name(file: str | None) -> str:
    return (file or "?").rsplit("/", 1)[-1]
