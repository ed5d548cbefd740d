"""What the cgroup grants this process and how often it holds it back: CPU quota, throttling, memory (v1 and v2)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_NO_LIMIT_BYTES = 1 << 60
"""v1 writes "no limit" as the largest multiple of the page size."""


@dataclass(frozen=True)
class Throttling:
    """Cumulative enforcement periods (100 ms each by default), and those in which the quota ran out."""

    periods: int
    throttled: int


@dataclass(frozen=True)
class Cgroup:
    """The folders from this process's own cgroup up to the root, per controller; innermost first."""

    cpu: tuple[Path, ...]
    memory: tuple[Path, ...]
    version: int

    def cpu_quota(self) -> float | None:
        """CPUs granted, the tightest on the way up; None without a quota."""
        quotas = [quota for folder in self.cpu if (quota := _quota(folder, self.version)) is not None]
        return min(quotas, default=None)

    def throttling(self) -> Throttling | None:
        """Counts of the innermost cgroup that has a quota; None where there is none."""
        for folder in self.cpu:
            if _quota(folder, self.version) is not None:
                stat = _pairs(folder / "cpu.stat")
                if "nr_periods" in stat and "nr_throttled" in stat:
                    return Throttling(stat["nr_periods"], stat["nr_throttled"])
        return None

    def memory_limit_bytes(self) -> int | None:
        """The tightest limit on the way up; None without one."""
        name = "memory.max" if self.version == 2 else "memory.limit_in_bytes"
        limits = [value for folder in self.memory if (value := _integer(folder / name)) is not None]
        limit = min(limits, default=None)
        return None if limit is None or limit >= _NO_LIMIT_BYTES else limit

    def memory_bytes(self) -> int | None:
        """Memory charged to the innermost cgroup that counts it, page cache included; None where none does."""
        name = "memory.current" if self.version == 2 else "memory.usage_in_bytes"
        return next((value for folder in self.memory if (value := _integer(folder / name)) is not None), None)

    def oom_kills(self, vmstat: Path = Path("/proc/vmstat")) -> int | None:
        """Processes that the kernel's out-of-memory killer has ended so far: in the innermost cgroup that counts them,
        or else on the machine (since it was started). None where neither tells."""
        name = "memory.events" if self.version == 2 else "memory.oom_control"
        counts = (_pairs(folder / name).get("oom_kill") for folder in self.memory)
        found = next((count for count in counts if count is not None), None)
        return found if found is not None else _pairs(vmstat).get("oom_kill")


def find(proc: Path = Path("/proc/self"), mounts: Path = Path("/sys/fs/cgroup")) -> Cgroup:
    """The cgroup of this process (cgroups(7)). A controller that can't be found has no folders.

    In a container without a cgroup namespace the path in /proc names the host's folder, which is not mounted inside:
    folders that do not exist are left out, and the mount's own top remains, which is the container's cgroup.
    """
    paths: dict[str, str] = {}
    try:
        for line in (proc / "cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            paths.update(dict.fromkeys(controllers.split(",") if controllers else [""], path))
    except (OSError, ValueError):
        pass
    if (mounts / "cgroup.controllers").exists():
        folders = _upwards(mounts, paths.get("", "/"))
        return Cgroup(folders, folders, 2)
    return Cgroup(_v1(mounts, paths, "cpu"), _v1(mounts, paths, "memory"), 1)


def _v1(mounts: Path, paths: dict[str, str], controller: str) -> tuple[Path, ...]:
    for name in (controller, "cpu,cpuacct") if controller == "cpu" else (controller,):
        if (mounts / name).is_dir():
            return _upwards(mounts / name, paths.get(controller, "/"))
    return ()


def _upwards(mount: Path, path: str) -> tuple[Path, ...]:
    folder = mount / path.strip("/")
    chain = [folder, *folder.parents]
    return tuple(f for f in chain[: chain.index(mount) + 1] if f.is_dir()) if mount in chain else (mount,)


def _quota(folder: Path, version: int) -> float | None:
    if version == 2:
        words = _text(folder / "cpu.max").split()
        return int(words[0]) / int(words[1]) if len(words) == 2 and words[0] != "max" else None
    quota, period = _integer(folder / "cpu.cfs_quota_us"), _integer(folder / "cpu.cfs_period_us")
    return quota / period if quota is not None and quota > 0 and period else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _integer(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.lstrip("-").isdigit() else None


def _pairs(path: Path) -> dict[str, int]:
    words = (line.split() for line in _text(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdigit()}
