"""The processes of a run at one moment, and what became of them until the next: from /proc alone (proc(5))."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from tfgpu_tui.core.rows import ProcessStands
from tfgpu_tui.supervisor.host import descendants

MOST = 24
"""Processes that are told, those that need the least time first: of a thousand that wait one says as much."""
STARVED = 0.5
"""Share of the time. Threads that poll for the interpreter's lock wake up for a moment, 200 times a second."""
_TICK_S = 1.0 / os.sysconf("SC_CLK_TCK")
_HELD = "Tt"
"""States of a process that is stopped by a signal or a debugger."""


@dataclass(frozen=True)
class Seen:
    """A process."""

    pid: int
    parent: int | None
    name: str
    state: str
    kernel: str | None
    cpu_s: float
    moved_bytes: int | None
    threads: int
    delays_s: dict[int, float]
    """Thread -> seconds that it was ready to run and no processor was free so far (schedstat); empty where the kernel
    does not count it."""
    in_disk: int
    forked: bool | None


@dataclass(frozen=True)
class Tree:
    """The script and its descendants, the script first."""

    seen: dict[int, Seen]

    def starved(self, before: Tree, seconds: float) -> bool:
        """Whether a thread was ready to run most of the time, and no processor was free for it."""
        return any(
            delay_s - before.seen[pid].delays_s.get(thread, delay_s) > STARVED * seconds
            for pid, process in self.seen.items()
            if pid in before.seen
            for thread, delay_s in process.delays_s.items()
        )

    def cpu_percent(self, before: Tree, seconds: float) -> float:
        """Of processes that were there before, and are now; 100 is one core."""
        used = sum(now.cpu_s - before.seen[pid].cpu_s for pid, now in self.seen.items() if pid in before.seen)
        new = sum(now.cpu_s for pid, now in self.seen.items() if pid not in before.seen)
        return round(100 * max(0.0, used + new) / seconds, 1)

    def moved_bps(self, before: Tree, seconds: float) -> float | None:
        """Bytes read and written a second; None where nothing of it can be read."""
        pairs = [
            (now.moved_bytes, before.seen[pid].moved_bytes) for pid, now in self.seen.items() if pid in before.seen
        ]
        known = [now - then for now, then in pairs if now is not None and then is not None]
        return round(sum(map(float, known)) / seconds, 1) if known else None


def look_at(script: int, own: set[int]) -> Tree:
    """All processes of the run now, without those in `own`; a few files for each thread."""
    seen: dict[int, Seen] = {}
    commands: dict[int, bytes] = {}
    for pid in descendants(script):
        if pid in own:
            continue
        found = _look(pid)
        if found is not None:
            commands[pid] = _command(pid)
            parent = commands.get(found.parent) if found.parent is not None else None
            forked = None if parent is None or not commands[pid] else commands[pid] == parent
            seen[pid] = Seen(**{**vars(found), "forked": forked})
    return Tree(seen)


def suspended(pid: int) -> bool:
    """Whether a process is stopped, or a debugger has it."""
    fields = _stat(f"/proc/{pid}")
    if fields is not None and fields[1] in _HELD:
        return True
    tracer = _read(f"/proc/{pid}/status").partition("TracerPid:")[2].split()
    return bool(tracer) and tracer[0] != "0"


def rows(tree: Tree, before: Tree, seconds: float) -> list[ProcessStands]:
    """As the event `standstill` has them."""
    if not tree.seen:
        return []
    script, *others = tree.seen.values()
    others.sort(key=lambda one: one.cpu_s - before.seen[one.pid].cpu_s if one.pid in before.seen else one.cpu_s)
    return [_row(one, before.seen.get(one.pid), seconds) for one in [script, *others[: MOST - 1]]]


def _row(now: Seen, before: Seen | None, seconds: float) -> ProcessStands:
    return {
        "pid": now.pid,
        "parent": now.parent,
        "name": now.name,
        "state": now.state,
        "kernel": now.kernel,
        "cpu_percent": None if before is None else round(100 * max(0.0, now.cpu_s - before.cpu_s) / seconds, 1),
        "threads": now.threads,
        "disk_threads": now.in_disk,
        "forked": now.forked,
    }


def _look(pid: int) -> Seen | None:
    folder = f"/proc/{pid}"
    fields = _stat(folder)
    if fields is None:
        return None
    try:
        tasks = {int(task): f"{folder}/task/{task}" for task in os.listdir(f"{folder}/task")}
    except OSError:
        return None
    states = [of_thread[1] for task in tasks.values() if (of_thread := _stat(task)) is not None]
    kernel = _read(f"{folder}/wchan")
    return Seen(
        pid=pid,
        parent=int(fields[2]),
        name=fields[0],
        state=fields[1],
        kernel=None if kernel in ("", "0") else kernel,
        cpu_s=(int(fields[12]) + int(fields[13])) * _TICK_S,
        moved_bytes=_moved(folder),
        threads=len(states),
        delays_s={
            task: int(words[1]) / 1e9
            for task, path in tasks.items()
            if len(words := _read(f"{path}/schedstat").split()) > 1
        },
        in_disk=states.count("D"),
        forked=None,
    )


def _stat(folder: str) -> list[str] | None:
    """[name, state, parent, …]; None for what is gone."""
    name, found, rest = _read(f"{folder}/stat").partition("(")[2].rpartition(")")
    return [name, *rest.split()] if found else None


def _moved(folder: str) -> int | None:
    """Bytes read and written so far, from whatever kind of file; pages of mapped files count as storage has them."""
    counters = dict(line.partition(":")[::2] for line in _read(f"{folder}/io").splitlines())
    try:
        return sum(int(counters[name]) for name in ("rchar", "wchar", "read_bytes"))
    except (KeyError, ValueError):
        return None


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _read(path: str) -> str:
    """'' where it can't be read."""
    try:
        return Path(path).read_text(errors="replace").strip(" ")
    except OSError:
        return ""
