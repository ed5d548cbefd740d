"""Where a user's own files belong, by the XDG Base Directory Specification."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path


def of_user(variable: str, below_home: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """The folder that `variable` names, else the one below the home folder. A relative path counts as none, as the
    specification wants it. None without a home (HOME is not set, and the user is in no passwd file)."""
    chosen = environ.get(variable, "")
    if os.path.isabs(chosen):
        return Path(chosen)
    home = os.path.expanduser("~")
    return Path(home) / below_home if os.path.isabs(home) else None
