"""Builds the stand-ins with the system's C compiler: `python -m tests.nvml.build FOLDER` (two seconds)."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

SOURCES = Path(__file__).parent / "standin"
LIBRARY = "libnvidia-ml.so.1"
CUDA_LIBRARY = "libcuda.so.1"
VERSION = "580.159.04"
_COMMON = ("json.c", "scenario.c")
_FLAGS = ("-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-fvisibility=hidden")


def compiler() -> str | None:
    """The C compiler of this system; None where there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


def build(folder: Path, old_driver: bool = False) -> Path:
    """NVML's stand-in; returns the folder to put into LD_LIBRARY_PATH. As with the real one, the file carries the
    driver's version and `libnvidia-ml.so.1` is a link to it. Raises CalledProcessError where it does not compile,
    FileNotFoundError where there is no compiler."""
    library = folder / f"libnvidia-ml.so.{VERSION}"
    _compile(library, LIBRARY, "nvml.c", *(["-DOLD_DRIVER"] if old_driver else []))
    link = folder / LIBRARY
    link.unlink(missing_ok=True)
    link.symlink_to(library.name)
    return folder


def build_cuda(folder: Path) -> Path:
    """The CUDA driver's stand-in, which lists the scenario's GPUs; returns its folder. Raises as `build` does."""
    _compile(folder / CUDA_LIBRARY, CUDA_LIBRARY, "cuda.c")
    return folder


def hollow(path: Path, *flags: str) -> Path:
    """A shared library of that name with nothing in it, for a loader that only asks whether it is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [_cc(), "-shared", "-fPIC", "-x", "c", "/dev/null", f"-Wl,-soname,{path.name}", *flags, "-o", str(path)],
        check=True,
    )
    return path


def _compile(library: Path, soname: str, source: str, *flags: str) -> None:
    library.parent.mkdir(parents=True, exist_ok=True)
    sources = [str(SOURCES / name) for name in (source, *_COMMON)]
    subprocess.run(
        [_cc(), *_FLAGS, *flags, f"-Wl,-soname,{soname}", "-o", str(library), *sources, "-lm", "-lpthread"], check=True
    )


def _cc() -> str:
    found = compiler()
    if found is None:
        raise FileNotFoundError("no C compiler (cc, gcc or clang) on this system")
    return found


if __name__ == "__main__":
    print(build_cuda(build(Path(sys.argv[1]))))
