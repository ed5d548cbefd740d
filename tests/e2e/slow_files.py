"""A file system whose files take their time: a folder, read-only, over FUSE, each opening and reading late.

    python -m tests.e2e.slow_files MOUNT_POINT FOLDER SECONDS

Needs the right to mount. The protocol is the kernel's (include/uapi/linux/fuse.h, version 7.31): headers, then the
structures of each request. Files of one folder only, found by name.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
import time
from concurrent.futures import ThreadPoolExecutor

LOOKUP, FORGET, GETATTR, OPEN, READ, RELEASE, FLUSH, INIT, BATCH_FORGET = 1, 2, 3, 14, 15, 18, 25, 26, 42
NO_ANSWER = (FORGET, BATCH_FORGET)
ENOENT, ENOSYS = 2, 38
HEADER = struct.Struct("<IIQQIIIHH")
LARGEST = 1 << 17


class SlowFiles:
    """Answers the kernel's requests; node 1 is the folder, each file the number of its name."""

    def __init__(self, folder: str, seconds: float) -> None:
        self.folder, self.seconds = folder, seconds
        self.names = sorted(os.listdir(folder))
        self.number = {name.encode(): i + 2 for i, name in enumerate(self.names)}

    def path(self, node: int) -> str:
        return self.folder if node == 1 else os.path.join(self.folder, self.names[node - 2])

    def attributes(self, node: int) -> bytes:
        is_folder, size = node == 1, os.stat(self.path(node)).st_size
        mode = stat.S_IFDIR | 0o755 if is_folder else stat.S_IFREG | 0o644
        return struct.pack("<6Q10I", node, size, size // 512 + 1, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)

    def answer(self, opcode: int, node: int, body: bytes) -> bytes | int:
        """The answer's body, or an error's number."""
        if opcode == INIT:
            major, minor = struct.unpack_from("<II", body)
            return struct.pack(
                "<4I2H2I2HI9I", major, min(minor, 31), LARGEST, 0, 16, 12, LARGEST, 1, 0, 0, 0, *[0] * 9
            )[:64]
        if opcode == LOOKUP:
            found = self.number.get(body.rstrip(b"\0"))
            return ENOENT if found is None else struct.pack("<4Q2I", found, 0, 60, 60, 0, 0) + self.attributes(found)
        if opcode == GETATTR:
            return struct.pack("<Q2I", 60, 0, 0) + self.attributes(node)
        if opcode == OPEN:
            return struct.pack("<QIi", node, 0, 0)
        if opcode == READ:
            time.sleep(self.seconds)
            _, offset, size = struct.unpack_from("<QQI", body)
            with open(self.path(node), "rb") as file:
                file.seek(offset)
                return file.read(size)
        return b"" if opcode in (RELEASE, FLUSH) else ENOSYS


def serve(point: str, files: SlowFiles) -> None:
    """Mounts, says so, and answers until it is unmounted."""
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id={os.getuid()},group_id={os.getgid()}"
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"slow", point.encode(), b"fuse.slow", 0, options.encode()):
        sys.exit(f"can't mount: {os.strerror(ctypes.get_errno())}")
    print("mounted", flush=True)

    def handle(request: bytes) -> None:
        _, opcode, unique, node, *_ = HEADER.unpack_from(request)
        if opcode in NO_ANSWER:
            return
        out = files.answer(opcode, node, request[HEADER.size :])
        error, body = (-out, b"") if isinstance(out, int) else (0, out)
        os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)

    with ThreadPoolExecutor(16) as pool:
        while True:
            try:
                request = os.read(device, LARGEST + 4096)
            except OSError:
                return  # unmounted
            pool.submit(handle, request)


if __name__ == "__main__":
    serve(sys.argv[1], SlowFiles(sys.argv[2], float(sys.argv[3])))
