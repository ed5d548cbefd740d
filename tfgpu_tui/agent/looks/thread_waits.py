"""What a thread of this process waits in, from the system: /proc/self/task/TID (proc(5)), without stopping it."""

from __future__ import annotations

import bisect
import os
import platform
import struct
from typing import Dict, Iterable, NamedTuple, Optional, Tuple

_X86_64 = {
    0: "read", 1: "write", 7: "poll", 17: "read", 18: "write", 19: "read", 20: "write", 23: "poll", 35: "sleep",
    42: "connect", 43: "accept", 44: "write", 45: "read", 46: "write", 47: "read", 61: "process", 72: "file lock",
    73: "file lock", 74: "sync", 75: "sync", 202: "lock", 230: "sleep", 232: "poll", 247: "process", 257: "open",
    262: "open", 270: "poll", 271: "poll", 281: "poll", 288: "accept",
}  # fmt: skip
_AARCH64 = {
    22: "poll", 25: "file lock", 32: "file lock", 56: "open", 63: "read", 64: "write", 65: "read", 66: "write",
    67: "read", 68: "write", 72: "poll", 73: "poll", 79: "open", 82: "sync", 83: "sync", 95: "process", 98: "lock",
    101: "sleep", 115: "sleep", 202: "accept", 203: "connect", 206: "write", 207: "read", 211: "write", 212: "read",
    242: "accept", 260: "process",
}  # fmt: skip
_CALLS: Dict[str, Dict[int, str]] = {"x86_64": _X86_64, "aarch64": _AARCH64}
"""Linux' numbers of system calls that wait (unistd.h of each architecture) -> what for."""
_WITH_FILE = ("read", "write", "connect", "accept", "sync", "file lock")
"""Their first argument is a descriptor."""
MAX_TEXT = 200
MAX_STACK_BYTES = 64 << 20


class Wait(NamedTuple):
    """What the system says of a thread."""

    state: Optional[str]
    """R | S | D | T | t | …, see proc(5)."""
    call: Optional[str]
    """A value of the tables above; None where it runs, or where that is not known."""
    on: Optional[str]
    """A path, `socket to 10.0.0.7:443`, `pipe`, `terminal`; None where the call names no descriptor."""
    where: Optional[str]
    """The function of the kernel in which it sleeps."""


def wait_of(native_id: int) -> Wait:
    """What a thread of this process waits in now."""
    folder = "/proc/self/task/%d/" % native_id
    stat = _read(folder + "stat")
    number, first = _system_call(_read(folder + "syscall"))
    call = _CALLS.get(platform.machine(), {}).get(number) if number is not None else None
    on = _described(first) if call in _WITH_FILE and first is not None else None
    where = _read(folder + "wchan")
    return Wait(stat.rpartition(")")[2].split()[0] if stat else None, call, on, None if where in ("", "0") else where)


def native_ids(idents: Iterable[int]) -> Dict[int, int]:
    """Python's number of each thread (pthread_self) -> the system's, also for threads that Python did not start.

    glibc and musl keep a thread's own data, whose address that number is, at the top of its stack (allocate_stack in
    nptl/allocatestack.c): of the stack pointers below it, which the system tells, the nearest is the thread's."""
    pointers = []
    for task in os.listdir("/proc/self/task"):
        words = _read("/proc/self/task/%s/syscall" % task).split()
        if len(words) > 2:
            pointers.append((int(words[-2], 16), int(task)))
    pointers.sort()
    found = {}
    for ident in idents:
        place = bisect.bisect_left(pointers, (ident, 0)) - 1
        if place >= 0 and ident - pointers[place][0] < MAX_STACK_BYTES:
            found[ident] = pointers[place][1]
    return found


def _read(path: str) -> str:
    """'' where it can't be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _system_call(text: str) -> Tuple[Optional[int], Optional[int]]:
    """Number and first argument; the file says `running` in place of them for a thread that does."""
    words = text.split()
    try:
        return int(words[0]), int(words[1], 16)
    except (IndexError, ValueError):
        return None, None


def _described(descriptor: int) -> Optional[str]:
    try:
        target = os.readlink("/proc/self/fd/%d" % descriptor)
    except OSError:
        return None
    if target.startswith("socket:["):
        return _peer(target[8:-1]) or "socket"
    if target.startswith("pipe:["):
        return "pipe"
    if target.startswith(("/dev/pts/", "/dev/tty", "/dev/console")):
        return "terminal"
    return target[:MAX_TEXT]


def _peer(inode: str) -> Optional[str]:
    """Whom a TCP socket is connected to (/proc/net/tcp, proc(5): addresses are words of the machine's byte order)."""
    for name in ("tcp", "tcp6"):
        for line in _read("/proc/self/net/" + name).splitlines()[1:]:
            fields = line.split()
            if len(fields) > 9 and fields[9] == inode:
                address, _, port = fields[2].partition(":")
                return "socket to %s:%d" % (_address(address), int(port, 16))
    return None


def _address(digits: str) -> str:
    import socket

    words = [int(digits[i : i + 8], 16) for i in range(0, len(digits), 8)]
    packed = struct.pack("=%dI" % len(words), *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)
