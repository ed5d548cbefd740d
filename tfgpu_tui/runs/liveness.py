"""Whether the processes of a run live, as far as that can be told from here.

A pid means something on one machine, since one start of it, in one namespace of pids. A state folder may be shared by
several of those (a home directory on a network, a volume of containers), so what can't be seen here is not dead.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Literal

from tfgpu_tui.runs import meta as metas
from tfgpu_tui.runs.meta import Meta

STARTING_S = 30.0
"""A run without a supervisor's pid yet counts as running for so long after it was made."""

_HOST, _ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*"), re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

Where = Literal["here", "rebooted", "elsewhere", "unknown"]


def where(meta: Meta, last_sign: float) -> Where:
    """Whether the run's processes could be seen from here if they lived; `rebooted`: they ended with this machine's
    last shutdown. `last_sign` is when something of the run was written last, unix seconds."""
    if not (meta.host and meta.boot_id and meta.pid_namespace):
        return "unknown"
    here = metas.here()
    if meta.boot_id != here.boot_id:
        # Another machine may have the same name: only what fell silent before this one was started ended with that.
        before = meta.host == here.host and last_sign < time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return "rebooted" if before else "elsewhere"
    if meta.pid_namespace != here.pid_namespace:
        return "elsewhere"
    # A machine's name may change, but so it does in a copy of a virtual machine that was running.
    return "here" if meta.host == here.host or _watched(meta) or script_lives(meta) else "elsewhere"


def way_to(meta: Meta, verb: str) -> str:
    """Where a run goes on that can't be reached from here, and what to type to get there."""
    here = metas.here()
    if meta.boot_id == here.boot_id:
        there = f" ({meta.host})" if meta.host != here.host else ""
        return f"runs in another container of this machine{there}: type tfgpu-tui {verb} {meta.id} in there"
    if _HOST.fullmatch(meta.host) is None or _ID.fullmatch(meta.id) is None:
        return f"runs on {meta.host}"  # no shell should see such a name
    return f"runs on {meta.host}: ssh -t {meta.host} tfgpu-tui {verb} {meta.id}"


def elsewhere_words(meta: Meta) -> str:
    """Where the run was started, for one that can't be seen from here."""
    here = metas.here()
    if meta.host != here.host:
        return f"it was started on {meta.host}"
    if meta.boot_id == here.boot_id:
        return "it was started in another container (PID namespace)"
    return f"it was started on another machine named {meta.host}"


def is_running(meta: Meta) -> bool:
    """Whether the run is looked after, as far as that can be seen from here: by its supervisor, or by the keeper that
    starts another one (or may still be starting the first)."""
    if not _pids_mean_something(meta):
        return False
    if meta.supervisor_pid is None and meta.keeper_pid is None:
        return 0 <= time.time() - meta.started < STARTING_S
    return _watched(meta)


def script_lives(meta: Meta) -> bool | None:
    """Whether the script's process is still there, watched or not; None where that was never written down."""
    if meta.script_pid is None:
        return None
    return _pids_mean_something(meta) and _lives(meta.script_pid, meta.script_started)


def _pids_mean_something(meta: Meta) -> bool:
    here = metas.here()
    return meta.boot_id in ("", here.boot_id) and meta.pid_namespace in ("", here.pid_namespace)


def _watched(meta: Meta) -> bool:
    return _lives(meta.supervisor_pid, meta.supervisor_started) or _lives(meta.keeper_pid, meta.keeper_started)


def _lives(pid: int | None, start: int | None) -> bool:
    if pid is None:
        return False
    started = process_start(pid)
    return started is not None and started == start


def process_start(pid: int) -> int | None:
    """When a process started, in kernel ticks since boot (field 22 of /proc/PID/stat, proc(5)); None for none or a
    zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    rest = text[text.rindex(")") + 2 :].split()
    return None if rest[0] in ("Z", "X") else int(rest[19])


def holder(folder: Path) -> int | None:
    """A process, as far as they can be seen, that has a file in this folder open; None where there is none."""
    begin = f"{os.path.realpath(folder)}/"
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")
        except OSError:
            continue  # it ended, or is another user's
        for fd in descriptors:
            try:
                if os.readlink(f"/proc/{pid}/fd/{fd}").startswith(begin):
                    return int(pid)
            except OSError:
                continue
    return None
