"""Samples the machine and the training's process tree; about a millisecond a sample, so that 2 Hz cost nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tfgpu_tui.core.events import HostSample
from tfgpu_tui.supervisor import cgroup


@dataclass(frozen=True)
class _Tree:
    """Sums over the script and its descendants."""

    pids: frozenset[int]
    cpu_s: float
    rss_bytes: int
    script_rss_bytes: int | None
    threads: int
    read_bytes: dict[int, int]
    write_bytes: dict[int, int]
    file_bytes: dict[int, int]


@dataclass(frozen=True)
class _Counters:
    """What rates are taken from: the counters at one moment."""

    at: float
    tree: _Tree
    net: tuple[int, int] | None
    throttling: cgroup.Throttling | None


class HostSampler:
    """Turns counters into rates between two calls of `sample`."""

    def __init__(self, script_pid: int) -> None:
        self._script = script_pid
        self._cgroup = cgroup.find()
        self._processes: dict[int, psutil.Process] = {}
        psutil.cpu_percent(percpu=True)  # the first call only sets the baseline
        self._last = self._counters()

    @property
    def pids(self) -> frozenset[int]:
        """The script and its descendants at the last sample."""
        return self._last.tree.pids

    def sample(self) -> HostSample:
        """The machine now; rates are over the time since the last call (the first: since this object was made)."""
        last, now = self._last, self._counters()
        self._last = now
        cores = psutil.cpu_percent(percpu=True)
        memory = psutil.virtual_memory()
        tree, elapsed_s = now.tree, now.at - last.at
        alive = bool(tree.pids)
        return HostSample(
            t=time.time(),
            src="host",
            cpu_percent=round(sum(cores) / len(cores), 1) if cores else None,
            cores_percent=cores,
            tree_cpu_percent=_tree_cpu_percent(last.tree, tree, elapsed_s),
            tree_rss_bytes=tree.rss_bytes if alive else None,
            script_rss_bytes=tree.script_rss_bytes,
            processes=len(tree.pids) if alive else None,
            threads=tree.threads if alive else None,
            memory_used_bytes=memory.total - memory.available,
            memory_total_bytes=memory.total,
            cgroup_memory_bytes=self._cgroup.memory_bytes(),
            oom_kills=self._cgroup.oom_kills(),
            throttled_percent=_throttled_percent(last.throttling, now.throttling),
            disk_read_bps=_grown(last.tree.read_bytes, tree.read_bytes, elapsed_s),
            disk_write_bps=_grown(last.tree.write_bytes, tree.write_bytes, elapsed_s),
            file_read_bps=_grown(last.tree.file_bytes, tree.file_bytes, elapsed_s),
            net_recv_bps=_rate(last.net and last.net[0], now.net and now.net[0], elapsed_s),
            net_sent_bps=_rate(last.net and last.net[1], now.net and now.net[1], elapsed_s),
        )

    def _counters(self) -> _Counters:
        net = psutil.net_io_counters(pernic=False)
        return _Counters(
            at=time.monotonic(),
            tree=self._tree(),
            net=(net.bytes_recv, net.bytes_sent) if net is not None else None,
            throttling=self._cgroup.throttling(),
        )

    def _tree(self) -> _Tree:
        self._follow(descendants(self._script))
        cpu_s, rss, threads, script_rss = 0.0, 0, 0, None
        alive, reads, writes, file_reads = set(), {}, {}, {}
        for pid, process in self._processes.items():
            try:
                with process.oneshot():
                    times, memory = process.cpu_times(), process.memory_info().rss
                    threads += process.num_threads()
            except psutil.Error:
                continue  # it ended between the list and the look
            alive.add(pid)
            # With its reaped children's time: when a child ends, its time moves to its parent and the sum stays.
            cpu_s += times.user + times.system + times.children_user + times.children_system
            rss += memory
            script_rss = memory if pid == self._script else script_rss
            try:
                io = process.io_counters()
                reads[pid], writes[pid], file_reads[pid] = io.read_bytes, io.write_bytes, io.read_chars
            except (psutil.Error, OSError, NotImplementedError):
                pass  # /proc/PID/io is not for everyone: the rates are then unknown
        return _Tree(frozenset(alive), cpu_s, rss, script_rss, threads, reads, writes, file_reads)

    def _follow(self, pids: list[int]) -> None:
        """Keeps one psutil.Process for each pid: it carries the process's identity across samples."""
        kept: dict[int, psutil.Process] = {}
        for pid in pids:
            try:
                kept[pid] = self._processes.get(pid) or psutil.Process(pid)
            except psutil.Error:
                continue
        self._processes = kept


def descendants(root: int) -> list[int]:
    """`root` and every process below it that exists now, from /proc/PID/task/TID/children (proc(5)), which costs a
    read for each thread of the tree and not one for each process of the machine; by psutil where a kernel has none."""
    if not Path(f"/proc/{root}/task/{root}/children").exists():
        try:
            return [root, *(child.pid for child in psutil.Process(root).children(recursive=True))]
        except psutil.Error:
            return []
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def _rate(before: int | None, after: int | None, elapsed_s: float) -> float | None:
    """Units a second; None where either count is unknown. A counter that went back counts as no growth."""
    if before is None or after is None or elapsed_s <= 0:
        return None
    return round(max(0, after - before) / elapsed_s, 1)


def _grown(before: dict[int, int], after: dict[int, int], elapsed_s: float) -> float | None:
    """The sum of each process's growth; a process that is new brings all it counted."""
    if not after or elapsed_s <= 0:
        return None
    return round(sum(max(0, count - before.get(pid, 0)) for pid, count in after.items()) / elapsed_s, 1)


def _tree_cpu_percent(before: _Tree, after: _Tree, elapsed_s: float) -> float | None:
    if not after.pids or elapsed_s <= 0:
        return None
    return round(100 * max(0.0, after.cpu_s - before.cpu_s) / elapsed_s, 1)


def _throttled_percent(before: cgroup.Throttling | None, after: cgroup.Throttling | None) -> float | None:
    if before is None or after is None:
        return None
    periods = after.periods - before.periods
    return round(100 * (after.throttled - before.throttled) / periods, 1) if periods > 0 else 0.0
