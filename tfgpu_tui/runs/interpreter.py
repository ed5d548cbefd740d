"""Which Python runs the script: --python, else the active environment's, never silently the tool's own private one."""

from __future__ import annotations

import itertools
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path


class InterpreterError(Exception):
    """No interpreter, or one that can't be run; the text is a whole sentence for a person."""


def choose(
    given: str | None,
    environ: Mapping[str, str] = os.environ,
    own: str = sys.executable,
    own_prefix: str = sys.prefix,
) -> str:
    """An absolute path, its links not followed (a virtual environment's python is a link). Raises InterpreterError.

    Without `given`: $VIRTUAL_ENV, $CONDA_PREFIX, the tool's own where TensorFlow is installed beside it (someone called
    `/env/bin/tfgpu-tui` without activating that environment), python3 or python on PATH, and at last the tool's own;
    the tool's own is passed over where it is private (installed by pipx or as a uv tool): it has no TensorFlow, and
    packages don't belong in there.
    """
    if given:
        return _given(given, environ)
    private = is_private(own_prefix)
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        prefix = environ.get(variable)
        if not prefix or (private and Path(prefix) == Path(own_prefix)):
            continue
        path = Path(prefix) / "bin" / "python"
        if not _runs(path):
            raise InterpreterError(
                f"{variable} is {prefix}, but {path} can't be run: activate again, or use --python PATH"
            )
        return str(path.absolute())
    if own and not private and has_tensorflow(own_prefix):
        return own
    folders = environ.get("PATH", os.defpath).split(os.pathsep)
    if private:
        folders = [folder for folder in folders if Path(folder) != Path(own_prefix) / "bin"]
    for name in ("python3", "python"):
        found = _which(name, os.pathsep.join(folders))
        if found:
            return os.path.abspath(found)
    if private or not own:
        raise InterpreterError("no python on PATH and no active environment: say which one with --python PATH")
    return own


def has_tensorflow(prefix: str) -> bool:
    """Whether TensorFlow is installed in that environment, judged by its folder alone."""
    return any(Path(prefix).glob("lib/python3*/site-packages/tensorflow/__init__.py"))


def is_private(prefix: str) -> bool:
    """Whether an environment belongs to pipx or to `uv tool`: made for one application alone."""
    parts = Path(prefix).parts
    return any(pair in (("pipx", "venvs"), ("uv", "tools")) for pair in itertools.pairwise(parts)) or (
        # `pipx run` and `uvx` keep theirs in a cache.
        "uv" in parts and any(part.startswith("archive-") for part in parts)
    )


def _given(given: str, environ: Mapping[str, str]) -> str:
    if "/" not in given:
        found = _which(given, environ.get("PATH", os.defpath))
        if found is None:
            raise InterpreterError(f"--python {given}: there is no such command on PATH")
        return os.path.abspath(found)
    path = Path(os.path.expanduser(given)).absolute()
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        raise InterpreterError(f"--python {given}: there is no such file") from None
    except OSError as error:
        raise InterpreterError(f"--python {given:.300}: it can't be reached: {error.strerror}") from None
    if is_folder:
        raise InterpreterError(f"--python {given}: this is a folder; its interpreter may be {path / 'bin' / 'python'}")
    if not _runs(path):
        raise InterpreterError(f"--python {given}: this file can't be run (it is not executable)")
    return str(path)


def _which(name: str, path: str) -> str | None:
    import shutil  # late: 3 ms on the way to the script's first line, where the interpreter is known without a search

    return shutil.which(name, path=path)


def _runs(path: Path) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)
