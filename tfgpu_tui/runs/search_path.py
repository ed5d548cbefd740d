"""Where the tool's own processes look for modules: the standard library and what is installed first, the user's last.

A folder on PYTHONPATH, or the current one, may hold a `json.py`, or a psutil for another Python: that is the script's
business. Our own modules may lie on PYTHONPATH too (module systems do that), so nothing is taken off, only put behind.
"""

import os
import sys

_INSTALLED = tuple(
    os.path.join(prefix, lib, "python") for prefix in (sys.prefix, sys.base_prefix) for lib in ("lib", "lib64")
)


def users_folders_last() -> None:
    """Puts the folder that python puts first (where the command lies, or the current one) and those of PYTHONPATH to
    the end of `sys.path`, in their order; also where python was told not to read that (`-E`)."""
    theirs = [] if getattr(sys.flags, "safe_path", sys.flags.isolated) else sys.path[:1]
    listed = os.environ.get("PYTHONPATH")
    try:
        theirs += map(os.path.abspath, listed.split(os.pathsep)) if listed else ()
    except FileNotFoundError:
        pass  # relative to a current folder that does not exist any more
    theirs = [folder for folder in dict.fromkeys(theirs) if not folder.startswith(_INSTALLED)]
    sys.path[:] = [folder for folder in sys.path if folder not in theirs] + theirs


def own_python() -> list[str]:
    """How a process of our own is started: the tool's interpreter, which leaves the PYTHON… variables to the script
    (PYTHONWARNINGS=error, a sitecustomize of the user's), but for those that say where and what files are written."""
    # An interpreter that needs PYTHONHOME does not find its standard library without it.
    command = [sys.executable, *([] if "PYTHONHOME" in os.environ else ["-E"])]
    if sys.dont_write_bytecode:
        command.append("-B")
    if sys.pycache_prefix:
        command += ["-X", f"pycache_prefix={sys.pycache_prefix}"]
    if sys.flags.utf8_mode:
        command += ["-X", "utf8"]
    return command
