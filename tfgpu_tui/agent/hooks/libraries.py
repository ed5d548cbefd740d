"""Whose a source file is: the user's own, or an installed package's.

Packages lie in `site-packages` or `dist-packages`; or in a folder of the search path into which they were installed all
the same (`pip install --target`, a cluster's modules): it holds their `.dist-info`. The script's own folder is none.
"""

from __future__ import annotations

import functools
import os
import site
import sys
import sysconfig
from typing import List, Optional

GENERATED = "__autograph_generated_file"
"""AutoGraph's rewriting of a function of the script (tensorflow/python/autograph/pyct/loader.py)."""
_NAMED = ("site-packages", "dist-packages")


def _folders() -> List[str]:
    """The interpreter's own folders, and ours."""
    paths = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [
        *site.getsitepackages(),
        site.getusersitepackages(),
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    ]
    return [os.path.join(os.path.realpath(p), "") for p in paths if p]


@functools.lru_cache(maxsize=512)
def _holds_packages(folder: str) -> bool:
    """Whether packages were installed into a folder."""
    try:
        return any(name.endswith(".dist-info") for name in os.listdir(folder))
    except OSError:
        return False


def _installed_into(path: str) -> Optional[str]:
    """The folder of the search path, other than the script's, that holds this file in an installed package."""
    for folder in sys.path[1:]:
        if folder and path.startswith(os.path.join(folder, "")) and folder != sys.path[0] and _holds_packages(folder):
            return folder
    return None


@functools.lru_cache(maxsize=4096)
def is_users(filename: str) -> bool:
    """Whether a file is the user's own: a real file that lies in no library folder of this interpreter."""
    if filename.startswith("<") or os.path.basename(filename).startswith(GENERATED):
        return False
    path = os.path.realpath(filename)
    # By name, too: of other interpreters, Debian's, PYTHONPATH's.
    if any(name in path.split(os.sep) for name in _NAMED) or library_of(filename) is not None:
        return False
    return not any(path.startswith(folder) for folder in _folders())


@functools.lru_cache(maxsize=4096)
def library_of(filename: str) -> Optional[str]:
    """The installed package that a source file belongs to; None for the user's own files and the standard library's."""
    parts = filename.split(os.sep)
    for name in _NAMED:
        if name in parts:
            return _package(parts[parts.index(name) + 1 :])
    folder = _installed_into(filename)
    return None if folder is None else _package(os.path.relpath(filename, folder).split(os.sep))


def _package(parts: List[str]) -> Optional[str]:
    return parts[0].partition(".")[0] if parts else None
