"""Builds the NVML stand-in with the system's C compiler: `python -m tests.nvml.build FOLDER` (about a second)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent / "standin"
LIBRARY = "libnvidia-ml.so.1"
VERSION = "580.159.04"
_FLAGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden")


def compiler() -> str | None:
    """The C compiler of this system; None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path, old_driver: bool = False) -> Path:
    """The folder to put into LD_LIBRARY_PATH. As with the real one, the file carries the driver's version and
    `libnvidia-ml.so.1` is a link to it. Raises CalledProcessError where it does not compile, FileNotFoundError where
    there is no compiler."""
    cc = compiler()
    if cc is None:
        raise FileNotFoundError("no C compiler (cc, gcc or clang) on this system")
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"libnvidia-ml.so.{VERSION}"
    subprocess.run(
        [cc, *_FLAGS, *(["-DOLD_DRIVER"] if old_driver else []), f"-Wl,-soname,{LIBRARY}", "-o", str(library),
         *map(str, sorted(SOURCES.glob("*.c"))), "-lm", "-lpthread"],
        check=True,
    )  # fmt: skip
    link = folder / LIBRARY
    link.unlink(missing_ok=True)
    link.symlink_to(library.name)
    return folder


if __name__ == "__main__":
    print(build(Path(sys.argv[1])))
